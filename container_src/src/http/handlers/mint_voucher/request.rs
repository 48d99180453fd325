//! The body of `POST /v1/vouchers`.

use std::time::Duration;

use edgeprove_protocol::{
    CircuitId, Origin, Priority, ProblemType, headers,
    voucher::{CIRCUITS_MAX, ORIGIN_MAX_BYTES},
};
use serde_json::{Map, Value};

use crate::{access::vouchers::VoucherSettings, http::api_error::ApiError};

/// The member with the circuits.
pub(super) const CIRCUIT: &str = "circuit";

/// The members of the body.
const MEMBERS: [&str; 6] = [CIRCUIT, "uses", "expires", "origin", "priority", "subject"];
/// The number of uses where the body has none.
const USES: u32 = 1;
/// The validity where the body has none.
const EXPIRES: Duration = Duration::from_mins(5);

/// What a voucher should allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VoucherRequest {
    pub(super) circuits: Vec<CircuitId>,
    pub(super) uses: u32,
    pub(super) expires: Duration,
    pub(super) origin: Option<Origin>,
    pub(super) priority: Priority,
    pub(super) subject: Option<String>,
}

impl VoucherRequest {
    /// Reads the body. Each error names its member.
    pub(super) fn read(json: &[u8], settings: &VoucherSettings) -> Result<Self, ApiError> {
        let members: Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
            let detail =
                format!("the body must be a JSON object with `circuit` and perhaps other members: {error}");
            ApiError::new(ProblemType::InvalidRequest, detail)
        })?;
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            let shown: String = unknown.chars().filter(|c| !c.is_control() && *c != '`').take(40).collect();
            let detail = format!("`{shown}` is no member of a voucher: they are {}", MEMBERS.join(", "));
            return Err(ApiError::new(ProblemType::InvalidRequest, detail));
        }
        let member = |name: &str| members.get(name).filter(|value| !value.is_null());
        let validity_max_s = settings.validity_max.as_secs();
        let expires = match member("expires") {
            Some(value) => Duration::from_secs(whole(value, validity_max_s, || {
                wrong("expires", &format!("a whole number of seconds from 1 to {validity_max_s}"))
            })?),
            None => EXPIRES.min(settings.validity_max),
        };
        let uses = match member("uses") {
            Some(value) => {
                let max = settings.uses_max;
                let wrong = || wrong("uses", &format!("a whole number from 1 to {max}"));
                let uses = whole(value, u64::from(max), wrong)?;
                u32::try_from(uses).unwrap_or(max)
            }
            None => USES,
        };
        Ok(Self {
            circuits: circuits(member(CIRCUIT))?,
            uses,
            expires,
            origin: member("origin").map(origin).transpose()?,
            priority: member("priority").map_or(Ok(Priority::default()), priority)?,
            subject: member("subject").map(subject).transpose()?,
        })
    }
}

fn wrong(member: &str, wanted: &str) -> ApiError {
    let mut error = ApiError::new(ProblemType::InvalidRequest, format!("`{member}` must be {wanted}"));
    error.field = Some(member.to_owned());
    error
}

fn whole(value: &Value, max: u64, wrong: impl FnOnce() -> ApiError) -> Result<u64, ApiError> {
    value.as_u64().filter(|number| (1..=max).contains(number)).ok_or_else(wrong)
}

fn circuits(value: Option<&Value>) -> Result<Vec<CircuitId>, ApiError> {
    let wrong = || {
        let wanted = format!("the name of a circuit, or an array of 1 to {CIRCUITS_MAX} different names");
        wrong(CIRCUIT, &wanted)
    };
    let names = match value {
        Some(Value::Array(names)) => names.as_slice(),
        Some(name @ Value::String(_)) => std::slice::from_ref(name),
        Some(_) | None => return Err(wrong()),
    };
    if !(1..=CIRCUITS_MAX).contains(&names.len()) {
        return Err(wrong());
    }
    let mut circuits = Vec::with_capacity(names.len());
    for name in names {
        let circuit: CircuitId = name.as_str().and_then(|name| name.parse().ok()).ok_or_else(wrong)?;
        if circuits.contains(&circuit) {
            return Err(wrong());
        }
        circuits.push(circuit);
    }
    Ok(circuits)
}

fn origin(value: &Value) -> Result<Origin, ApiError> {
    let text = value.as_str().filter(|text| text.len() <= ORIGIN_MAX_BYTES);
    let origin = text.and_then(|text| text.parse().ok());
    origin.ok_or_else(|| wrong("origin", "an origin such as https://app.example, without a path"))
}

fn priority(value: &Value) -> Result<Priority, ApiError> {
    let names = || wrong("priority", "LOW, NORMAL, HIGH or CRITICAL");
    value.as_str().and_then(|text| text.parse().ok()).ok_or_else(names)
}

fn subject(value: &Value) -> Result<String, ApiError> {
    let text = value.as_str().filter(|text| headers::is_acceptable_user(text.as_bytes()));
    let max = headers::USER_MAX_BYTES;
    text.map(str::to_owned)
        .ok_or_else(|| wrong("subject", &format!("1 to {max} characters of A-Z a-z 0-9 - _ .")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<VoucherRequest, ApiError> {
        let settings = VoucherSettings {
            secret: None,
            validity_max: Duration::from_mins(10),
            uses_max: 20,
            per_minute: 60,
        };
        VoucherRequest::read(body.to_string().as_bytes(), &settings)
    }

    #[test]
    fn members_have_defaults() {
        let least = read(&json!({"circuit": "a"})).unwrap();
        assert_eq!(least.circuits, ["a".parse().unwrap()]);
        assert_eq!((least.uses, least.expires, least.priority), (1, EXPIRES, Priority::Normal));
        assert_eq!((least.origin, least.subject), (None, None));
        let all = json!({"circuit": ["a", "b"], "uses": 20, "expires": 600, "origin": "HTTPS://App.example:443",
            "priority": "low", "subject": "user-1"});
        let all = read(&all).unwrap();
        assert_eq!((all.circuits.len(), all.uses, all.expires.as_secs()), (2, 20, 600));
        assert_eq!(
            all.origin.map(|origin| origin.as_str().to_owned()).as_deref(),
            Some("https://app.example")
        );
        assert_eq!((all.priority, all.subject.as_deref()), (Priority::Low, Some("user-1")));
        assert!(read(&json!({"circuit": "a", "origin": null})).unwrap().origin.is_none());
    }

    #[test]
    fn each_wrong_member_is_named() {
        for (member, values) in [
            ("circuit", json!([1, "", "../a", [], ["a", "a"], ["a", 1], {}, null, vec!["a"; 17]])),
            ("uses", json!([0, -1, 1.5, 21, "3", u64::MAX])),
            ("expires", json!([0, -1, 601, "5m", 1.5])),
            ("origin", json!([1, "*", "app.example", "https://app.example/path", "null", ""])),
            ("priority", json!(["URGENT", 1, ""])),
            ("subject", json!(["", "a b", "x".repeat(65), 1])),
        ] {
            for value in values.as_array().unwrap() {
                let mut body = json!({"circuit": "a"});
                body[member] = value.clone();
                let error = read(&body).unwrap_err();
                assert_eq!(error.field.as_deref(), Some(member), "{value}");
                assert!(error.detail.contains(&format!("`{member}`")), "{}", error.detail);
            }
        }
        for body in [
            json!([]),
            json!("a"),
            json!({"circuit": "a", "circuits": ["a"]}),
            json!({"circuit": "a", "key": 1}),
        ] {
            assert_eq!(read(&body).unwrap_err().kind, ProblemType::InvalidRequest, "{body}");
        }
    }
}
