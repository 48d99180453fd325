//! The bindings that `wrangler.toml` declares. No other module names a binding, but for those that settings need.

use std::time::Duration;

use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{Env, ObjectNamespace, RateLimiter, Stub, js_sys};

use crate::{
    bucket::Bucket,
    edge_error::{EdgeError, Operation, RuntimeError},
    outgoing_request::{Fetch, Outgoing, SendError},
    settings::{Settings, is_setting},
    variables::{Value, Values},
};

#[wasm_bindgen]
extern "C" {
    /// A secret of the Secrets Store.
    type StoredSecret;

    #[wasm_bindgen(method, catch)]
    fn get(this: &StoredSecret) -> Result<JsValue, JsValue>;
}

pub use crate::settings::{ARTIFACTS, JOBS_QUEUE};

/// The Durable Objects that own the containers.
pub const PROVER: &str = "PROVER";
/// The class of these objects.
pub const PROVER_CLASS: &str = "ProverContainer";
/// The class of the Durable Object with the job queue.
pub const JOBS_CLASS: &str = "JobsDo";
/// Its name: there is one queue for the whole deployment.
const JOBS_NAME: &str = "jobs";
/// The counter of requests by caller.
pub const RATE_LIMITER: &str = "RATE_LIMITER";

/// The files of the page, as assets of the Worker.
pub const PAGE_FILES: &str = "PAGE_FILES";

/// How long a file of the page may take.
const PAGE_FILE_LIMIT: Duration = Duration::from_secs(5);

/// The content of a file of the page.
pub async fn page_file(env: &Env, name: &str) -> Result<web_sys::Response, EdgeError> {
    let missing = |reason: String| EdgeError::BindingMissing { binding: PAGE_FILES, reason };
    let files = js_sys::Reflect::get(env.as_ref(), &PAGE_FILES.into()).ok().filter(JsValue::is_object);
    let files: Fetch = files.ok_or_else(|| missing("no such binding".to_owned()))?.unchecked_into();
    let request = Outgoing::get(&format!("https://page/{name}"))?;
    match request.send(&files, PAGE_FILE_LIMIT).await {
        Ok(response) if response.status() == 200 => Ok(response),
        Ok(response) => Err(missing(format!("{name} is {} there", response.status()))),
        Err(SendError::Failed(reason)) => Err(missing(reason)),
        Err(SendError::TimedOut) => Err(EdgeError::TimedOut { limit: PAGE_FILE_LIMIT }),
    }
}

/// The bucket with the bodies and proofs of jobs.
pub fn artifacts(env: &Env) -> Result<Bucket, EdgeError> {
    let bucket = js_sys::Reflect::get(env.as_ref(), &ARTIFACTS.into()).ok().filter(JsValue::is_object);
    let missing = || EdgeError::BindingMissing { binding: ARTIFACTS, reason: "no such binding".to_owned() };
    bucket.map(JsCast::unchecked_into).ok_or_else(missing)
}

/// Reads the settings from the variables and secrets. Those of the Secrets Store take a request to it.
pub async fn settings(env: &Env) -> Result<Settings, EdgeError> {
    let mut values = Values::new();
    for entry in js_sys::Object::entries(js_sys::Object::unchecked_from_js_ref(env)) {
        let entry = js_sys::Array::from(&entry);
        let Some(name) = entry.get(0).as_string() else { continue };
        let value = match value(&entry.get(1)) {
            Value::Other if is_setting(&name) => stored_secret(&entry.get(1)).await,
            value => value,
        };
        values.insert(name, value);
    }
    Ok(Settings::of_bindings(&values)?)
}

fn value(binding: &JsValue) -> Value {
    if let Some(text) = binding.as_string() {
        Value::Text(text)
    } else if let Some(number) = binding.as_f64() {
        Value::Number(number)
    } else if let Some(boolean) = binding.as_bool() {
        Value::Boolean(boolean)
    } else if js_sys::Array::is_array(binding) {
        Value::List(js_sys::Array::from(binding).iter().map(|entry| value(&entry)).collect())
    } else {
        Value::Other
    }
}

/// The value of an object in the place of a setting: a secret of the Secrets Store has the method `get`.
async fn stored_secret(binding: &JsValue) -> Value {
    // The function of the platform's objects need not be a `Function`, so only its existence is checked.
    let has_get = js_sys::Reflect::get(binding, &"get".into()).is_ok_and(|get| get.is_truthy());
    if !has_get {
        return Value::Other;
    }
    let secret = match binding.unchecked_ref::<StoredSecret>().get() {
        Ok(secret) => JsFuture::from(js_sys::Promise::resolve(&secret)).await,
        Err(error) => Err(error),
    };
    secret.ok().and_then(|secret| secret.as_string()).map_or(Value::UnreadableSecret, Value::Text)
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

/// The object with the job queue.
pub fn jobs(env: &Env) -> Result<Stub, EdgeError> {
    let missing =
        |error: worker::Error| EdgeError::BindingMissing { binding: JOBS_QUEUE, reason: error.to_string() };
    let namespace: ObjectNamespace = env.durable_object(JOBS_QUEUE).map_err(missing)?;
    namespace.get_by_name(JOBS_NAME).map_err(missing)
}

/// A URL for the object of a container. The host is the object's name, so the object knows its number: not every runtime reports it.
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
