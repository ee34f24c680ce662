//! Who may call what. Keys are configured as SHA-256 digests, so the configuration gives nobody access; a presented
//! token is digested and compared with every key in constant time.

use std::sync::Arc;

use poem::{Request, RequestBody, http::header};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::app::App;
use crate::error::{Code, Problem};
use crate::shell::RequestContext;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads everything.
    Viewer,
    /// Registers wallets, and reads registration jobs.
    Merchant,
    /// Reads everything, retries, cancels, pauses, sets payout modes.
    Operator,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Merchant => "merchant",
            Self::Operator => "operator",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Viewer, Self::Merchant, Self::Operator].into_iter().find(|role| role.name() == name)
    }
}

/// The owner of a key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}

struct Key {
    caller: Caller,
    digest: [u8; 32],
}

/// All configured keys.
pub(crate) struct ApiKeys(Vec<Key>);

impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} API keys>", self.0.len())
    }
}

impl ApiKeys {
    /// Reads `name:role:sha256hex,...`. Problems name an entry by its position, never by its content.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut keys, mut problems) = (Vec::<Key>::new(), Vec::new());
        for (at, entry) in text.split(',').enumerate() {
            match read_key(entry.trim()) {
                Ok(key) if keys.iter().any(|known| known.caller.name == key.caller.name) => {
                    problems.push(format!("API_KEYS: entry {} repeats the name of an earlier one", at + 1));
                }
                Ok(key) if keys.iter().any(|known| known.digest == key.digest) => {
                    problems.push(format!("API_KEYS: entry {} repeats the key of an earlier one", at + 1));
                }
                Ok(key) => keys.push(key),
                Err(problem) => problems.push(format!("API_KEYS: entry {}: {problem}", at + 1)),
            }
        }
        if problems.is_empty() { Ok(Self(keys)) } else { Err(problems) }
    }

    /// The owner of `token`. Takes as long for an unknown token as for a known one.
    pub(crate) fn find(&self, token: &str) -> Option<&Caller> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let (mut found, mut at) = (Choice::from(0), 0u32);
        for (i, key) in (0u32..).zip(&self.0) {
            let same = key.digest.ct_eq(&digest);
            at.conditional_assign(&i, same);
            found |= same;
        }
        if bool::from(found) { self.0.get(at as usize).map(|key| &key.caller) } else { None }
    }
}

fn read_key(entry: &str) -> Result<Key, &'static str> {
    let [name, role, digest] = entry.split(':').collect::<Vec<_>>()[..] else {
        return Err("expected name:role:sha256hex");
    };
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fine) {
        return Err("the name must have 1 to 64 characters of A-Z, a-z, 0-9, -, _ and .");
    }
    let role = Role::from_name(role).ok_or("the role must be viewer, merchant or operator")?;
    let digest = hex_digest(digest)
        .ok_or("the key must be given as its SHA-256 in 64 hex digits: printf %s \"$KEY\" | sha256sum")?;
    Ok(Key { caller: Caller { name: name.into(), role }, digest })
}

fn hex_digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        let pair = &text[at..at + 2];
        if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

fn bearer(request: &Request) -> Option<&str> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn authorize(request: &Request, allowed: &[Role]) -> Result<Caller, Problem> {
    let app = App::of(request)?;
    let caller = bearer(request).and_then(|token| app.keys.find(token)).cloned().ok_or_else(|| {
        Problem::new(Code::Unauthorized, "send the header `Authorization: Bearer <key>` with a valid API key")
    })?;
    if let Some(context) = request.data::<RequestContext>() {
        context.set_caller(&caller.name);
    }
    if !allowed.contains(&caller.role) {
        let needed: Vec<&str> = allowed.iter().map(|role| role.name()).collect();
        return Err(Problem::new(
            Code::Forbidden,
            format!(
                "the key `{}` is a {}; this needs {}",
                caller.name,
                caller.role.name(),
                needed.join(" or ")
            ),
        ));
    }
    Ok(caller)
}

const SCHEME: &str = "api_key";

macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident($($role:ident),*);)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[allow(dead_code, reason = "routes that only read do not ask who reads")]
        pub(crate) struct $name(pub(crate) Caller);

        impl<'a> ApiExtractor<'a> for $name {
            const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
            type ParamType = ();
            type ParamRawType = ();

            fn register(registry: &mut Registry) {
                registry.create_security_scheme(SCHEME, MetaSecurityScheme {
                    ty: "http",
                    description: Some("An API key. Roles: viewer reads; merchant registers; operator reads and acts."),
                    name: None,
                    key_in: None,
                    scheme: Some("bearer"),
                    bearer_format: None,
                    flows: None,
                    openid_connect_url: None,
                });
            }

            fn security_schemes() -> Vec<&'static str> {
                vec![SCHEME]
            }

            async fn from_request(
                request: &'a Request,
                _body: &mut RequestBody,
                _options: ExtractParamOptions<()>,
            ) -> poem::Result<Self> {
                Ok(Self(authorize(request, &[$(Role::$role),*])?))
            }
        }
    )*};
}

callers! {
    /// May read everything.
    Reader(Viewer, Operator);
    /// May read one job; a merchant only a registration.
    JobReader(Viewer, Operator, Merchant);
    /// May register wallets.
    Registrar(Merchant);
    /// May act on jobs and on the system.
    Acting(Operator);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(key: &str) -> String {
        Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_key_is_found_by_its_token_alone() {
        let text = format!("shop:merchant:{},ops:operator:{}", digest("one"), digest("two"));
        let keys = ApiKeys::parse(&text).unwrap();
        assert_eq!(&*keys.find("two").unwrap().name, "ops");
        assert_eq!(keys.find("one").unwrap().role, Role::Merchant);
        assert!(keys.find("three").is_none() && keys.find("").is_none());
        assert!(keys.find(&digest("one")).is_none(), "the digest is no key");
    }

    #[test]
    fn every_bad_entry_is_reported_without_its_content() {
        let good = digest("one");
        let text =
            format!("shop:merchant:{good},shop:viewer:{},x:root:{good},y:viewer:hunter2,z", digest("two"));
        let problems = ApiKeys::parse(&text).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(!problems.concat().contains("hunter2") && !problems.concat().contains(&good));
    }
}
