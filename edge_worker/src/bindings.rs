//! What `wrangler.toml` binds, by name; no other file names a binding.

use wasm_bindgen::{JsCast as _, JsValue};
use worker::{Env, ObjectNamespace, RateLimiter, Stub, js_sys};

use crate::{edge_error::EdgeError, settings::Vars};

/// The Durable Objects that own the containers.
pub const PROVER: &str = "PROVER";
/// The class of those objects.
pub const PROVER_CLASS: &str = "ProverContainer";
/// Counts requests by caller.
pub const RATE_LIMITER: &str = "RATE_LIMITER";

/// Every variable and secret; other bindings are no texts and are left out.
#[must_use]
pub fn vars(env: &Env) -> Vars {
    let entries = js_sys::Object::entries(js_sys::Object::unchecked_from_js_ref(env));
    entries
        .iter()
        .filter_map(|entry| {
            let entry = js_sys::Array::from(&entry);
            Some((entry.get(0).as_string()?, entry.get(1).as_string()?))
        })
        .collect()
}

/// The object that owns a container.
pub fn prover(env: &Env, instance: u16) -> Result<Stub, EdgeError> {
    let missing = |error: worker::Error| EdgeError::binding(PROVER, error.to_string());
    let namespace: ObjectNamespace = env.durable_object(PROVER).map_err(missing)?;
    namespace.get_by_name(&instance_name(instance)).map_err(missing)
}

/// The name of the object that owns a container.
#[must_use]
pub fn instance_name(instance: u16) -> String {
    format!("prover-{instance}")
}

/// A URL at that object: the host is its name, so that it knows its number, which not every runtime tells it.
#[must_use]
pub fn prover_url(instance: u16, path_and_query: &str) -> String {
    format!("https://{}{path_and_query}", instance_name(instance))
}

/// The number of the object that such a URL is at.
#[must_use]
pub fn instance_of(url: &str) -> Option<u16> {
    let host = url.strip_prefix("https://prover-")?;
    host.get(..host.find('/')?)?.parse().ok()
}

/// Whether a caller may send one more request.
pub async fn within_rate(env: &Env, key: String) -> Result<bool, EdgeError> {
    let missing = |error: worker::Error| EdgeError::binding(RATE_LIMITER, error.to_string());
    let limiter: RateLimiter = env.rate_limiter(RATE_LIMITER).map_err(missing)?;
    let outcome = limiter
        .limit(key)
        .await
        .map_err(|error| EdgeError::internal(format!("the rate limiter failed: {error}")))?;
    Ok(outcome.success)
}

/// What a JavaScript exception says.
#[must_use]
pub fn words(thrown: &JsValue) -> String {
    let error = thrown.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
    error.or_else(|| thrown.as_string()).unwrap_or_else(|| format!("{thrown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_tells_its_object_which_one_it_is() {
        for instance in [0, 3, 999] {
            assert_eq!(instance_of(&prover_url(instance, "/v1/proofs?limit=1")), Some(instance));
        }
        for other in ["https://prover-/x", "https://prover-3", "https://prover-x/", "http://prover-3/"] {
            assert_eq!(instance_of(other), None, "{other}");
        }
    }
}
