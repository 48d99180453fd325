//! The bindings that `wrangler.toml` declares. No other module names a binding.

use wasm_bindgen::JsCast as _;
use worker::{Env, ObjectNamespace, RateLimiter, Stub, js_sys};

use crate::{
    edge_error::{EdgeError, Operation, RuntimeError},
    settings::Vars,
};

/// The Durable Objects that own the containers.
pub const PROVER: &str = "PROVER";
/// The class of these objects.
pub const PROVER_CLASS: &str = "ProverContainer";
/// The counter of requests by caller.
pub const RATE_LIMITER: &str = "RATE_LIMITER";

/// Every variable and secret. Other bindings are not text and are left out.
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
    let missing =
        |error: worker::Error| EdgeError::BindingMissing { binding: PROVER, reason: error.to_string() };
    let namespace: ObjectNamespace = env.durable_object(PROVER).map_err(missing)?;
    namespace.get_by_name(&instance_name(instance)).map_err(missing)
}

/// The name of the object that owns a container.
#[must_use]
pub fn instance_name(instance: u16) -> String {
    format!("prover-{instance}")
}

/// A URL for that object. The host is the object's name, so the object knows its number: not every runtime reports it.
#[must_use]
pub fn prover_url(instance: u16, path_and_query: &str) -> String {
    format!("https://{}{path_and_query}", instance_name(instance))
}

/// The number in a URL of [`prover_url`].
#[must_use]
pub fn instance_of(url: &str) -> Option<u16> {
    let host = url.strip_prefix("https://prover-")?;
    host.get(..host.find('/')?)?.parse().ok()
}

/// Counts one request of a caller. Returns whether it is within the caller's rate.
pub async fn is_within_rate(env: &Env, key: String) -> Result<bool, EdgeError> {
    let missing =
        |error: worker::Error| EdgeError::BindingMissing { binding: RATE_LIMITER, reason: error.to_string() };
    let limiter: RateLimiter = env.rate_limiter(RATE_LIMITER).map_err(missing)?;
    let failed = |error: worker::Error| RuntimeError {
        operation: Operation::CountRequest,
        message: error.to_string(),
    };
    Ok(limiter.limit(key).await.map_err(failed)?.success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_finds_its_number_in_the_url() {
        for instance in [0, 3, 999] {
            assert_eq!(instance_of(&prover_url(instance, "/v1/proofs?limit=1")), Some(instance));
        }
        for other in ["https://prover-/x", "https://prover-3", "https://prover-x/", "http://prover-3/"] {
            assert_eq!(instance_of(other), None, "{other}");
        }
    }
}
