//! `cjson.encode`, as Redis's `cjson` writes texts, numbers, booleans, null, arrays and objects, with its errors.

use mlua::{Table, Value};

/// As C prints a number by `%.<precision>g`.
pub(super) fn general(number: f64, precision: usize) -> String {
    if number.fract() == 0.0 && number.abs() < 1e14 {
        return (number as i64).to_string();
    }
    if !number.is_finite() {
        return if number.is_nan() {
            "nan"
        } else if number > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{number:.*e}", precision - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let most = i32::try_from(precision).unwrap_or(i32::MAX);
    if exponent < -4 || exponent >= most {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(digits), exponent.abs());
    }
    trimmed(&format!("{number:.*}", usize::try_from(most - 1 - exponent).unwrap_or(0)))
}

/// How deep tables and documents may nest.
pub(super) const DEEPEST: usize = 1000;

pub(super) fn encode(value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(256);
    write(&mut out, value, 0)?;
    Ok(out)
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::String(text) => quote(out, &text.as_bytes()),
        Value::Integer(number) => out.extend(general(*number as f64, 14).bytes()),
        Value::Number(number) if number.is_finite() => out.extend(general(*number, 14).bytes()),
        Value::Number(_) => return Err("Cannot serialise number: must not be NaN or Inf".to_owned()),
        Value::Boolean(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Value::Table(_) if depth >= DEEPEST => {
            return Err(format!("Cannot serialise, excessive depth ({})", depth + 1));
        }
        Value::Table(table) => write_table(out, table, depth)?,
        other if other.is_nil() || other.is_null() => out.extend_from_slice(b"null"),
        other => return Err(format!("Cannot serialise {}: type not supported", other.type_name())),
    }
    Ok(())
}

/// An array where all keys count from one, even with gaps; otherwise, and when empty, an object.
fn write_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> Result<(), String> {
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    table
        .for_each(|key, value| {
            pairs.push((key, value));
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    let place = |key: &Value| match key {
        Value::Integer(at) => usize::try_from(*at).ok().filter(|at| *at >= 1),
        _ => None,
    };
    let places: Option<Vec<usize>> = pairs.iter().map(|(key, _)| place(key)).collect();
    match places.and_then(|places| places.into_iter().max()) {
        Some(last) if last > pairs.len() * 2 && last > 10 => {
            Err("Cannot serialise table: excessively sparse array".to_owned())
        }
        Some(last) => {
            out.push(b'[');
            for at in 1..=last {
                if at > 1 {
                    out.push(b',');
                }
                let item: Value = table.raw_get(at).map_err(|error| error.to_string())?;
                write(out, &item, depth + 1)?;
            }
            out.push(b']');
            Ok(())
        }
        None => {
            // `for_each` has them in an order that differs from one run to the next.
            pairs.sort_by_cached_key(|(key, _)| key.as_string().map(|name| name.as_bytes().to_vec()));
            out.push(b'{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match key {
                    Value::String(name) => quote(out, &name.as_bytes()),
                    Value::Integer(number) => quote(out, number.to_string().as_bytes()),
                    Value::Number(number) => quote(out, general(*number, 14).as_bytes()),
                    _ => {
                        return Err("Cannot serialise table: table key must be a number or string".to_owned());
                    }
                }
                out.push(b':');
                write(out, value, depth + 1)?;
            }
            out.push(b'}');
            Ok(())
        }
    }
}

fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' | b'/' => out.extend([b'\\', *byte]),
            0x08 => out.extend(b"\\b"),
            b'\t' => out.extend(b"\\t"),
            b'\n' => out.extend(b"\\n"),
            0x0c => out.extend(b"\\f"),
            b'\r' => out.extend(b"\\r"),
            0..0x20 | 0x7f => out.extend(format!("\\u{byte:04x}").bytes()),
            other => out.push(*other),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::general;

    #[test]
    fn numbers_look_as_c_prints_them() {
        for (number, precision, text) in [
            (1.0, 14, "1"),
            (-3.0, 14, "-3"),
            (0.5, 14, "0.5"),
            (0.1, 17, "0.10000000000000001"),
            (1e14, 14, "1e+14"),
            (1_732_460_000_000.0, 14, "1732460000000"),
            (123_456_789_012_345_680.0, 17, "1.2345678901234568e+17"),
            (12_345_678_901_234_568.0, 17, "12345678901234568"),
            (1.5e-7, 14, "1.5e-07"),
        ] {
            assert_eq!(general(number, precision), text);
        }
    }
}
