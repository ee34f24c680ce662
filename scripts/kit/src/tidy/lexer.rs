//! As much of Rust's lexical grammar as telling code from comments and literals takes.

/// What a stretch of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The text with comments and the insides of literals blanked; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (kind, piece) in pieces(text) {
        match kind {
            Kind::Code => out.push_str(piece),
            _ => out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
    }
    out
}

/// The string literals, without their quotes, each with its line.
pub(super) fn literals(text: &str) -> Vec<(usize, String)> {
    let mut line = 1;
    let mut found = Vec::new();
    for (kind, piece) in pieces(text) {
        if kind == Kind::Literal {
            let inner = piece.trim_start_matches(['b', 'r', 'c', '#']).trim_end_matches('#');
            found.push((line, inner.trim_matches('"').to_owned()));
        }
        line += piece.matches('\n').count();
    }
    found
}

/// The number of lines before the first `#[cfg(test)]`: what is shipped.
pub(super) fn production_lines(text: &str) -> usize {
    let code = code(text);
    code.lines()
        .position(|line| line.trim_start().starts_with("#[cfg(test)]"))
        .unwrap_or(code.lines().count())
}

/// The line, from 1, of the byte at `offset`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Where `word` stands alone, as byte offsets: not as a part of a longer identifier.
pub(super) fn words(code: &str, word: &str) -> Vec<usize> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let alone = |at: &usize| !code[..*at].ends_with(part) && !code[at + word.len()..].starts_with(part);
    code.match_indices(word).map(|(at, _)| at).filter(alone).collect()
}

fn pieces(text: &str) -> Vec<(Kind, &str)> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let special = comment(rest).map(|len| (Kind::Comment, len)).or_else(|| {
            let inside_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            literal(rest, inside_word).map(|len| (Kind::Literal, len))
        });
        let Some((kind, len)) = special else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        found.push((Kind::Code, &text[start..at]));
        found.push((kind, &text[at..at + len]));
        at += len;
        start = at;
    }
    found.push((Kind::Code, &text[start..]));
    found
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?;
    let (mut depth, mut at) = (1, 2);
    while depth > 0 && at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(at)
}

/// The length of the string or character literal that begins here.
fn literal(rest: &str, inside_word: bool) -> Option<usize> {
    if !inside_word {
        let prefix = ["br", "cr", "r"].into_iter().find(|prefix| rest.starts_with(prefix));
        if let Some(length) = prefix.and_then(|prefix| raw(rest, prefix.len())) {
            return Some(length);
        }
    }
    match rest.as_bytes() {
        [b'"', ..] => Some(quoted(rest, b'"')),
        [b'\'', b'\\', ..] => Some(quoted(rest, b'\'')),
        // A lifetime has no quote after its first character.
        [b'\'', ..] => {
            let length = rest[1..].chars().next()?.len_utf8();
            (rest.as_bytes().get(1 + length) == Some(&b'\'')).then_some(length + 2)
        }
        _ => None,
    }
}

fn raw(rest: &str, prefix: usize) -> Option<usize> {
    let hashes = rest[prefix..].bytes().take_while(|b| *b == b'#').count();
    let open = prefix + hashes;
    (rest.as_bytes().get(open) == Some(&b'"')).then_some(())?;
    let close = format!("\"{}", "#".repeat(hashes));
    let inner = rest[open + 1..].find(&close)?;
    Some(open + 1 + inner + close.len())
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let text = "a /* x /* y */ z */ b // c\n\"d \\\" e\" 'f' '\\'' r#\"g \" h\"# 'life b'i'\n";
        let code = code(text);
        assert_eq!(code.len(), text.len());
        let left: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(left, "a b 'life b");
        assert_eq!(code.matches('\n').count(), 2);
    }

    #[test]
    fn string_literals_are_found_with_their_lines() {
        assert_eq!(
            literals("x\nf(\"A_B\", r#\"C\"#) // \"D\"\n\"E\""),
            [(2, "A_B".into()), (2, "C".into()), (3, "E".into())]
        );
    }

    #[test]
    fn production_code_ends_at_the_tests() {
        assert_eq!(production_lines("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
        assert_eq!(production_lines("a\n// #[cfg(test)]\n"), 2);
    }

    #[test]
    fn a_word_is_not_found_inside_a_longer_one() {
        assert_eq!(words("redis redis_x x::redis;", "redis"), [0, 17]);
    }
}
