//! Logs: one line per event on standard error, as text or JSON. What is logged where is in CONTRIBUTING.md.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// From `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// Crates whose spans below `info` hold whole URLs of endpoints, and with them the keys of RPC providers.
const TELL_URLS: [&str; 4] =
    ["alloy_transport_http", "alloy_transport_ws", "alloy_rpc_client", "alloy_pubsub"];

/// What is logged: `filter`, but never what [`TELL_URLS`] would tell.
fn discreet(filter: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    TELL_URLS.iter().fold(filter, |filter, name| match format!("{name}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    })
}

/// Starts logging. `filter` is in `RUST_LOG` syntax, such as `info,worker=debug`. Later calls change nothing.
pub fn start(format: LogFormat, filter: &str) {
    let filter = discreet(filter);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, as in tests that share a process, is refused by the library and may be ignored.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_lets_a_transport_tell_its_url() {
        for filter in ["trace", "alloy_transport_http=trace", "alloy_transport_http[span]=debug,debug", ""] {
            let shown = discreet(filter).to_string();
            for name in TELL_URLS {
                assert!(shown.contains(&format!("{name}=info")), "{filter}: {shown}");
                assert!(!shown.contains(&format!("{name}=trace")), "{filter}: {shown}");
            }
        }
    }
}
