use thiserror::Error;

/// Why the store could not answer. Domain outcomes (a duplicate, a refused transition) are no errors.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    #[error("Redis did not answer {operation}: {source}")]
    Redis {
        operation: &'static str,
        #[source]
        source: redis::RedisError,
    },
    #[error("no connection to Redis for {operation}: {detail}")]
    Pool { operation: &'static str, detail: String },
    #[error(
        "`{key}` holds `{value}` in `{field}`, which is not {expected}; a newer version may have written it"
    )]
    Corrupt { key: String, field: &'static str, value: String, expected: &'static str },
    #[error("{operation}: what is known of it cannot be read ({detail}); look at its records")]
    Unreadable { operation: &'static str, detail: String },
    #[error("script `{script}` returned {value}, which this version does not know")]
    UnknownReply { script: &'static str, value: String },
    #[error("the schema in Redis has version {stored}, this program knows {known}: deploy a newer version")]
    NewerSchema { stored: u64, known: u64 },
    #[error("{operation} reached the primary, but not the durability that the policy asks for: {detail}")]
    NotDurable { operation: &'static str, detail: String },
}

impl StoreError {
    /// Whether another record could be read all the same.
    pub fn is_of_one_record(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Redis { source, .. } => source.code() == Some("WRONGTYPE"),
            _ => false,
        }
    }

    /// Whether a script broke off at a record that is not what it should be: at others it may come to its end.
    pub fn is_of_the_script(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if matches!(source.code(), Some("ERR" | "WRONGTYPE")))
    }
}
