//! Standard Webhooks (`v1`, HMAC-SHA256): the signed content is `id.timestamp.body`, over the raw bytes. Several secrets
//! may be live at once, and a sender may give several signatures, so that secrets can be rotated.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use poem::http::HeaderMap;
use sha2::Sha256;
use shared::env::Secret;
use subtle::{Choice, ConstantTimeEq};

use super::InvalidSignature;

pub(crate) const ID: &str = "webhook-id";
pub(crate) const TIMESTAMP: &str = "webhook-timestamp";
pub(crate) const SIGNATURE: &str = "webhook-signature";
/// How far a delivery's time may be from ours, in seconds, both ways.
const TOLERANCE: u64 = 300;
/// The shortest key the specification allows, in bytes.
const KEY_MIN: usize = 24;

/// One live key, ready to sign.
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<webhook key>")
    }
}

impl Key {
    /// Reads `whsec_` and base64.
    pub fn parse(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret.expose().strip_prefix("whsec_").ok_or("it must begin with whsec_")?;
        let key = STANDARD.decode(text).map_err(|_| "what follows whsec_ must be base64")?;
        if key.len() < KEY_MIN {
            return Err("the key must have at least 24 bytes: echo whsec_$(openssl rand -base64 32)");
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|_| "the key's length does not fit")
    }

    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

/// Checks a delivery and returns its id. `now` is in unix seconds.
pub(super) fn verify<'h>(
    keys: &[Key],
    headers: &'h HeaderMap,
    body: &[u8],
    now: u64,
) -> Result<&'h str, InvalidSignature> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(InvalidSignature);
    let (id, timestamp, signatures) = (text(ID)?, text(TIMESTAMP)?, text(SIGNATURE)?);
    let mut genuine = Choice::from(0);
    for key in keys {
        let expected = key.sign(id, timestamp, body);
        for signature in signatures.split(' ').filter_map(|one| one.strip_prefix("v1,")) {
            genuine |= expected.as_bytes().ct_eq(signature.as_bytes());
        }
    }
    let digits = timestamp.bytes().all(|b| b.is_ascii_digit());
    let recent = digits && timestamp.parse::<u64>().is_ok_and(|sent| sent.abs_diff(now) <= TOLERANCE);
    if bool::from(genuine) && recent { Ok(id) } else { Err(InvalidSignature) }
}
