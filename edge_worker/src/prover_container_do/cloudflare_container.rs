//! The container of Cloudflare that belongs to a Durable Object, as the lifecycle's platform.

use std::{cell::Cell, rc::Rc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::Value;
use wasm_bindgen::{JsCast as _, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use worker::{Container, Date, Delay, ScheduledTime, State, console_log, js_sys};

use super::{log_error, within};
use crate::{
    edge_error::{Operation, RuntimeError},
    js_error::message,
    lifecycle::{ContainerExit, Platform, Probe, Record, StartError},
    log::{self, ContainerLine},
    outgoing_request::{Fetch, Outgoing, SendError},
    platform_errors,
    settings::{INSTANCE_NUMBER, Settings},
};

/// The key of the record in the object's storage.
pub(super) const RECORD: &str = "record";
/// The port of the server in the container.
const PORT: u16 = 8080;
const SIGTERM: i32 = 15;
/// How much longer than its idle time a container runs whose object is lost.
const INACTIVITY_MARGIN: Duration = Duration::from_mins(1);

#[wasm_bindgen]
extern "C" {
    /// Functions of the container that the `worker` crate lacks or calls without all of their arguments.
    #[derive(Clone)]
    type RawContainer;

    #[wasm_bindgen(method, catch)]
    fn start(this: &RawContainer, options: &js_sys::Object) -> Result<(), JsValue>;

    #[wasm_bindgen(method, catch)]
    fn monitor(this: &RawContainer) -> Result<js_sys::Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = setInactivityTimeout)]
    fn set_inactivity_timeout(this: &RawContainer, ms: f64) -> Result<js_sys::Promise, JsValue>;
}

/// A container of Cloudflare.
pub(super) struct CloudflareContainer {
    state: Rc<State>,
    container: Rc<Container>,
    name: Rc<str>,
    /// Its number. Only a request starts it, and each request has the number.
    number: Cell<Option<u16>>,
    settings: Rc<Settings>,
}

impl CloudflareContainer {
    pub(super) fn new(state: Rc<State>, container: Container, name: String, settings: Settings) -> Self {
        Self {
            state,
            container: Rc::new(container),
            name: name.into(),
            number: Cell::new(None),
            settings: Rc::new(settings),
        }
    }

    pub(super) fn name(&self) -> &Rc<str> {
        &self.name
    }

    pub(super) fn note_number(&self, number: Option<u16>) {
        self.number.set(number.or(self.number.get()));
    }

    pub(super) fn port(&self) -> Result<Fetch, RuntimeError> {
        let port = self.container.get_tcp_port(PORT);
        let error = |error: worker::Error| RuntimeError {
            operation: Operation::OpenPort,
            message: error.to_string(),
        };
        Ok(port.map_err(error)?.into_rpc())
    }

    fn raw(&self) -> RawContainer {
        let container: &JsValue = self.container.as_ref().as_ref();
        container.clone().unchecked_into()
    }

    fn log(&self, event: &'static str, detail: &str) {
        let line = ContainerLine { event, container: &self.name, request_id: None, detail };
        console_log!("{}", log::text(&line));
    }

    /// The options in the form of the runtime. Those of the `worker` crate lose the environment.
    fn start_options(&self) -> Result<js_sys::Object, JsValue> {
        let (options, env) = (js_sys::Object::new(), js_sys::Object::new());
        for (name, value) in &self.settings.container_env.0 {
            js_sys::Reflect::set(&env, &name.into(), &value.into())?;
        }
        if let Some(number) = self.number.get() {
            js_sys::Reflect::set(&env, &INSTANCE_NUMBER.into(), &number.to_string().into())?;
        }
        js_sys::Reflect::set(&options, &"env".into(), &env)?;
        js_sys::Reflect::set(&options, &"enableInternet".into(), &self.settings.container_internet.into())?;
        Ok(options)
    }

    /// Has the platform stop the container if this object is lost for good. Runtimes without this function stop such a
    /// container on their own conditions.
    fn limit_inactivity(&self) {
        let is_known = js_sys::Reflect::has(&self.raw(), &"setInactivityTimeout".into()).unwrap_or(false);
        if !is_known {
            return;
        }
        let time = self.settings.lifecycle.sleep_after + INACTIVITY_MARGIN;
        match self.raw().set_inactivity_timeout(time.as_secs_f64() * 1000.0) {
            Ok(done) => self.spawn(async move { drop(JsFuture::from(done).await) }.boxed_local()),
            Err(error) => self.log("inactivity_timeout_not_set", &message(&error)),
        }
    }
}

impl Platform for CloudflareContainer {
    fn now(&self) -> u64 {
        Date::now().as_millis()
    }

    fn is_running(&self) -> bool {
        self.container.running()
    }

    fn fingerprint(&self) -> String {
        self.settings.container_fingerprint()
    }

    fn start(&self) -> Result<(), StartError> {
        let options = self.start_options().map_err(|error| StartError::Refused(message(&error)))?;
        self.raw().start(&options).map_err(|error| platform_errors::start_error(&message(&error)))?;
        self.log("container_started", &format!("internet={}", self.settings.container_internet));
        self.limit_inactivity();
        Ok(())
    }

    fn exit(&self) -> LocalBoxFuture<'static, ContainerExit> {
        let monitored = self.raw().monitor();
        async move {
            let ended = match monitored {
                Ok(exit) => JsFuture::from(exit).await,
                Err(error) => Err(error),
            };
            match ended {
                Ok(_) => ContainerExit::Code(0),
                Err(error) => {
                    let code =
                        js_sys::Reflect::get(&error, &"exitCode".into()).ok().and_then(|code| code.as_f64());
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "an exit status is a small whole number"
                    )]
                    platform_errors::exit(&message(&error), code.map(|code| code as i32))
                }
            }
        }
        .boxed_local()
    }

    fn probe(&self, limit: Duration) -> LocalBoxFuture<'static, Probe> {
        let (port, request) = (self.port(), Outgoing::get("http://prover/readyz"));
        async move {
            let (port, request) = match (port, request) {
                (Ok(port), Ok(request)) => (port, request),
                (Err(error), _) | (_, Err(error)) => return Probe::NoResponse(error.to_string()),
            };
            match within(limit, probe(&request, &port, limit)).await {
                Some(probe) => probe,
                None => Probe::NoResponse(format!("no response within {} ms", limit.as_millis())),
            }
        }
        .boxed_local()
    }

    fn request_stop(&self, reason: &'static str) {
        self.log("container_stop_requested", reason);
        if let Err(error) = self.container.signal(SIGTERM) {
            self.log("container_not_signalled", &error.to_string());
        }
    }

    fn destroy(&self) -> LocalBoxFuture<'static, ()> {
        self.log("container_destroyed", "");
        let (container, name) = (Rc::clone(&self.container), Rc::clone(&self.name));
        async move {
            if let Err(error) = container.destroy(None).await {
                log_error("container_not_destroyed", &name, None, &error.to_string());
            }
        }
        .boxed_local()
    }

    fn sleep(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        Delay::from(time).boxed_local()
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        self.state.wait_until(task);
    }

    fn set_alarm(&self, at: u64) {
        let (state, name) = (Rc::clone(&self.state), Rc::clone(&self.name));
        let task = async move {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have 41 bits")]
            let date = js_sys::Date::new(&JsValue::from_f64(at as f64));
            if let Err(error) = state.storage().set_alarm(ScheduledTime::new(date)).await {
                log_error("alarm_not_set", &name, None, &error.to_string());
            }
        };
        self.spawn(task.boxed_local());
    }

    fn store(&self, record: &Record) {
        let (state, name, record) = (Rc::clone(&self.state), Rc::clone(&self.name), record.clone());
        let task = async move {
            if let Err(error) = state.storage().put(RECORD, record).await {
                log_error("record_not_stored", &name, None, &error.to_string());
            }
        };
        self.spawn(task.boxed_local());
    }

    fn log_exit(&self, exit: &ContainerExit) {
        self.log("container_ended", &exit.to_string());
    }
}

async fn probe(request: &Outgoing, port: &Fetch, limit: Duration) -> Probe {
    let response = match request.send(port, limit).await {
        Ok(response) => response,
        Err(SendError::TimedOut) => return Probe::NoResponse("no response in time".to_owned()),
        Err(SendError::Failed(reason)) => return Probe::NoResponse(reason),
    };
    let status = response.status();
    // The body is always read: an unread response blocks its connection.
    let body = match response.text() {
        Ok(text) => JsFuture::from(text).await.ok().and_then(|text| text.as_string()).unwrap_or_default(),
        Err(error) => return Probe::NoResponse(message(&error)),
    };
    if (200..300).contains(&status) {
        ready(&body)
    } else {
        Probe::NotReady(format!("/readyz responded {status}"))
    }
}

/// The result of a probe with this body. Older servers may report less.
fn ready(body: &str) -> Probe {
    let report: Value = serde_json::from_str(body).unwrap_or_default();
    let count = |name: &str| report[name].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
    let idle_for = report["idle_ms"].as_u64().map(Duration::from_millis);
    Probe::Ready { work: count("running").saturating_add(count("waiting")), idle_for }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ready_server_may_report_less_than_a_newer_one() {
        let full = r#"{"status":"ready","running":1,"waiting":2,"idle_ms":1500,"new_member":{}}"#;
        assert_eq!(ready(full), Probe::Ready { work: 3, idle_for: Some(Duration::from_millis(1500)) });
        for older in [r#"{"status":"ready"}"#, "", "ready"] {
            assert_eq!(ready(older), Probe::Ready { work: 0, idle_for: None }, "{older}");
        }
    }
}
