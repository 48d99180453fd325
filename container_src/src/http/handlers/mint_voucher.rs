//! `POST /v1/vouchers`: mints a token with which a page proves on behalf of the caller's API key.
//!
//! 1. The caller has an API key (401, 403), and is within its rate (429). The service has vouchers (503).
//! 2. The body arrives, and is JSON of the right size (400, 408, 413, 415, 503).
//! 3. Each member is valid and within the bounds of the server (400), and the role of the key includes the priority (403).
//! 4. The key has not minted too many in a short time (429).
//! 5. The circuits exist (404).
//! 6. The audit log has the voucher (503).
//! 7. 201 with the token. It is stored nowhere.

mod request;

use axum::{
    Json,
    extract::{FromRequestParts as _, Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_job_rules::audit::{Action, Entry};
use edgeprove_protocol::{
    CircuitId, ProblemType, Voucher,
    answer::NewVoucher,
    voucher::{InvalidVoucher, KeyFingerprint},
};
use http::{StatusCode, request::Parts};
use uuid::Uuid;

use crate::{
    access::{Caller, voucher_uses::now_s},
    http::{
        api_error::ApiError,
        caller::{Identity, forbidden},
        inputs,
        job_response::no_store,
        json_body::{self, JsonBody, JsonBounds},
        request_body::RequestBody,
        request_id::request_id_of,
        state::AppState,
    },
};
use request::VoucherRequest;

/// The largest body, in bytes.
const BODY_MAX_BYTES: u64 = 16 << 10;
/// Bytes of memory for each byte of the body: the body, and its texts.
const COPIES: u64 = 2;

/// See the module.
pub async fn mint_voucher(State(app): State<AppState>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut body = RequestBody::new(&parts, body);
    match mint(&app, &mut parts, &mut body).await {
        Ok(voucher) => no_store((StatusCode::CREATED, Json(voucher)).into_response()),
        Err(error) => {
            body.discard(&app.lifecycle.supervisor);
            error.into_response()
        }
    }
}

async fn mint(app: &AppState, parts: &mut Parts, body: &mut RequestBody) -> Result<NewVoucher, ApiError> {
    let caller = Caller::from_request_parts(parts, app).await?;
    app.access.count(&caller)?;
    let (holder, key) = holder(&caller, parts)?;
    let asked = receive(app, &caller, parts, body).await?;
    caller.may_use(asked.priority).map_err(|error| forbidden(app, &caller, error, parts))?;
    app.access.count_voucher(&caller, app.vouchers.rate())?;
    for circuit in &asked.circuits {
        check_exists(app, circuit).await?;
    }
    let VoucherRequest { circuits, uses, expires, origin, priority, subject } = asked;
    let voucher = Voucher {
        id: Uuid::new_v4().to_string(),
        holder,
        key,
        circuits,
        uses,
        expires_s: now_s().saturating_add(expires.as_secs()),
        priority,
        origin,
        subject,
    };
    let token = app.vouchers.sign(&voucher).ok_or_else(disabled)?;
    let circuit = match &voucher.circuits[..] {
        [circuit] => Some(circuit.clone()),
        _ => None,
    };
    let entry = Entry {
        circuit,
        request_id: Some(request_id_of(&parts.headers)),
        voucher: Some(voucher.id.clone()),
        ..app.audit.entry(caller.actor(), Action::VoucherMinted)
    };
    app.audit.record(entry).await?;
    tracing::debug!(voucher = voucher.id, uses, "voucher minted");
    let expires_ms = i64::try_from(voucher.expires_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    Ok(NewVoucher {
        voucher: token,
        id: voucher.id,
        circuits: voucher.circuits,
        uses,
        expires: edgeprove_telemetry::timestamp(expires_ms),
        priority,
        origin: voucher.origin.map(|origin| origin.as_str().to_owned()),
        subject: voucher.subject,
    })
}

/// The name of the caller's key, and the key.
fn holder(caller: &Caller, parts: &Parts) -> Result<(String, KeyFingerprint), ApiError> {
    let Some(name) = caller.name() else {
        let detail =
            "vouchers are minted by holders of API keys: where callers need no key, pages need no voucher";
        return Err(ApiError::new(ProblemType::ApiKeyRequired, detail));
    };
    let key = parts.extensions.get::<Identity>().and_then(|identity| identity.key);
    // An edge that sends none is of another version, and could not check the voucher.
    Ok((name.to_owned(), key.ok_or_else(disabled)?))
}

fn disabled() -> ApiError {
    ApiError::new(ProblemType::VouchersDisabled, InvalidVoucher::Disabled.to_string())
}

async fn receive(
    app: &AppState,
    caller: &Caller,
    parts: &Parts,
    body: &mut RequestBody,
) -> Result<VoucherRequest, ApiError> {
    if !app.vouchers.are_enabled() {
        return Err(disabled());
    }
    if !inputs::is_expected(&parts.headers) {
        let detail = "send what the voucher allows as Content-Type: application/json";
        return Err(ApiError::new(ProblemType::UnsupportedMediaType, detail));
    }
    let bounds = JsonBounds { max_bytes: BODY_MAX_BYTES, copies: COPIES, idle: app.options.intake.idle };
    let too_large = || {
        let detail = format!("the JSON has more than {BODY_MAX_BYTES} bytes, which is the limit");
        ApiError::new(ProblemType::InputsTooLarge, detail)
    };
    let account = caller.share_account();
    let received = json_body::receive(&parts.headers, body, &account, bounds, too_large).await?;
    let JsonBody { json, share: _share } = received;
    VoucherRequest::read(&json, &app.vouchers.settings)
}

/// Fails if there is no circuit of this name, so that a wrong name is found before a page has it.
async fn check_exists(app: &AppState, circuit: &CircuitId) -> Result<(), ApiError> {
    // A configured circuit that failed to load is one that the operator will repair.
    let is_configured = app.circuits.find_loaded(Some(circuit)).map_or(true, |found| found.is_some());
    if is_configured || app.circuits.is_published(circuit).await? {
        return Ok(());
    }
    let detail = format!("`circuit`: there is no circuit {circuit}; GET /v1/circuits lists them");
    let mut error = ApiError::new(ProblemType::CircuitNotFound, detail);
    error.field = Some(request::CIRCUIT.to_owned());
    Err(error)
}
