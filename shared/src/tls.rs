//! The TLS library's cryptography, chosen once: the dependency tree holds two providers, and without a choice the first TLS
//! connection panics.

/// Chooses the provider for this process. Call before anything connects.
pub fn install_provider() {
    // A second call, as in tests that share a process, finds the first one's choice.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
