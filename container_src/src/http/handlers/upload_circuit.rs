//! `POST /v1/circuits` with `multipart/form-data`: uploads a compiled circuit. For operators, because the server runs what is
//! uploaded.
//!
//! 1. The caller is an operator (401, 403, 429), and the server stores circuits and can write its audit log (503).
//! 2. The parts are streamed to the spool (400, 408, 413, 503). See [`FileKind`] for the files.
//! 3. They are checked, one upload at a time, and the sample is proved (400, 422, 503).
//! 4. The upload is written to the audit log, and the circuit is published (503).
//! 5. 201 with the circuit and its `Location`; 200 where the same circuit was stored already.
//!
//! The check cannot be stopped at every point, so it runs in a task of its own. When the caller has left meanwhile, nothing is
//! published.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::FromRequestParts as _,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use edgeprove_circuit_store::StoredCircuit;
use edgeprove_job_rules::audit::{Action, Actor, Entry, Outcome};
use edgeprove_protocol::{
    CircuitId, ProblemType,
    limits::{CIRCUIT_UPLOAD_MAX_BYTES, INPUTS_MAX_BYTES},
};
use edgeprove_spool::Spool;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use http::{HeaderValue, StatusCode, header, request::Parts};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::{
    circuits::{
        upload::{Checked, UploadError},
        uploaded_files::{CircuitName, CircuitUpload, FileKind, UploadedFile},
    },
    http::{
        api_error::ApiError,
        callback,
        caller::Operator,
        extract::declared_length,
        form::{Form, FormError},
        request_body::RequestBody,
        request_id::request_id_of,
        state::{AppState, NotReady},
    },
    jobs::circuit_document::stored_entry,
};

/// Bytes that a form may have beside its files: delimiters, heads and short parts.
const FORM_OVERHEAD_MAX_BYTES: u64 = 64 << 10;
/// Most bytes of a part with a short text.
const TEXT_MAX_BYTES: usize = 256;
/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// See the module.
pub(super) async fn upload_circuit(
    app: &AppState,
    parts: &mut Parts,
    body: &mut RequestBody,
    boundary: &str,
) -> Result<Response, ApiError> {
    let Operator(caller) = Operator::from_request_parts(parts, app).await?;
    callback::refuse(&parts.headers)?;
    app.jobs()?;
    let work = app.lifecycle.admit();
    if let Some(reason) = app.lifecycle.refusal() {
        return Err(NotReady::Lifecycle(reason).into());
    }
    if !app.audit.is_ready().await {
        return Err(ApiError::audit_unavailable());
    }
    let max_bytes = CIRCUIT_UPLOAD_MAX_BYTES + INPUTS_MAX_BYTES + FORM_OVERHEAD_MAX_BYTES;
    if declared_length(&parts.headers).is_some_and(|declared| declared > max_bytes) {
        return Err(too_large());
    }
    let account = caller.share_account().into_owned();
    let form = Form::new(body, boundary, max_bytes, app.options.intake.idle);
    let spool = app.engine.spool.of_owner(&account);
    let upload = Receiver { form, spool, idle: app.options.intake.idle, left: CIRCUIT_UPLOAD_MAX_BYTES };
    let upload = upload.receive().await?;

    let (reply, answered) = oneshot::channel();
    let publication = Publisher {
        app: Arc::clone(app),
        actor: caller.actor(),
        account,
        request_id: request_id_of(&parts.headers),
    };
    app.lifecycle.supervisor.spawn("check an uploaded circuit", async move {
        // A file that makes a library panic must not stop the server.
        let checked = AssertUnwindSafe(publication.publish(upload, &reply)).catch_unwind().await;
        let panicked = || UploadError::unusable("the server failed to read its files".to_owned()).into();
        // The caller may have left.
        let _ = reply.send(checked.unwrap_or_else(|_| Err(panicked())));
        drop(work);
    });
    match answered.await {
        Ok(Ok(Some((stored, is_new)))) => answer(&stored, is_new),
        Ok(Err(error)) => Err(error),
        // The task ends without an answer only where the caller has left.
        Ok(Ok(None)) | Err(_) => Err(ApiError::new(ProblemType::NotReady, "the server stops")),
    }
}

fn answer(stored: &StoredCircuit, is_new: bool) -> Result<Response, ApiError> {
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(stored_entry(stored)?)).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/circuits/{}", stored.circuit.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

type Answer = Result<Option<(StoredCircuit, bool)>, ApiError>;

/// Checks an upload and publishes it.
struct Publisher {
    app: AppState,
    actor: Actor,
    account: String,
    request_id: String,
}

impl Publisher {
    /// The stored circuit, and whether it is new. `None` where the caller has left.
    async fn publish(self, upload: CircuitUpload, reply: &oneshot::Sender<Answer>) -> Answer {
        let circuits = Arc::clone(&self.app.circuits);
        let passed = match circuits.check_upload(upload, &self.account).await? {
            Some(Checked::Known(stored)) => return Ok(Some((*stored, false))),
            Some(Checked::Passed(passed)) => passed,
            None => return Ok(None),
        };
        if reply.is_closed() {
            tracing::info!(circuit = %passed.id(), "an uploaded circuit is not published, because its caller has left");
            return Ok(None);
        }
        self.record(passed.id().clone()).await?;
        let stored = circuits.publish_upload(*passed).await?;
        Ok(stored.map(|stored| (stored, true)))
    }

    async fn record(self, circuit: CircuitId) -> Result<(), ApiError> {
        let entry = Entry {
            circuit: Some(circuit),
            request_id: Some(self.request_id),
            outcome: Some(Outcome::Ok),
            ..self.app.audit.entry(self.actor, Action::CircuitUploaded)
        };
        Ok(self.app.audit.record(entry).await?)
    }
}

fn too_large() -> ApiError {
    let mebibytes = CIRCUIT_UPLOAD_MAX_BYTES >> 20;
    let detail =
        format!("the files of the circuit have more than {mebibytes} MiB together, which is the limit");
    ApiError::new(ProblemType::CircuitTooLarge, detail)
}

fn invalid(detail: impl Into<String>) -> ApiError {
    ApiError::new(ProblemType::InvalidRequest, detail)
}

fn malformed(error: &FormError) -> ApiError {
    error.refusal(too_large)
}

/// Receives the parts of a form.
struct Receiver<'body, S> {
    form: Form<'body, S>,
    spool: Spool,
    idle: Duration,
    /// Bytes that further files may have.
    left: u64,
}

impl<S> Receiver<'_, S>
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Unpin,
{
    async fn receive(mut self) -> Result<CircuitUpload, ApiError> {
        let (mut name, mut trust, mut sample) = (None, None, None);
        let mut files: Vec<UploadedFile> = Vec::new();
        while let Some(part) = self.form.next_part().await.map_err(|error| malformed(&error))? {
            let twice = || invalid(format!("the part `{part}` is there twice"));
            match part.as_str() {
                "name" if name.is_none() => {
                    let text = self.text(&part).await?;
                    name = Some(text.parse::<CircuitName>().map_err(|error| invalid(error.to_string()))?);
                }
                "trust" if trust.is_none() => {
                    let text = self.text(&part).await?;
                    trust = Some(text.parse().map_err(|error| invalid(format!("{error}")))?);
                }
                "input" if sample.is_none() => sample = Some(self.sample().await?),
                "name" | "trust" | "input" => return Err(twice()),
                other => {
                    let Some(kind) = FileKind::ALL.into_iter().find(|kind| kind.part() == other) else {
                        return Err(unknown_part());
                    };
                    if files.iter().any(|file| file.kind == kind) {
                        return Err(twice());
                    }
                    files.push(self.file(kind).await?);
                }
            }
        }
        let name = name.ok_or_else(|| invalid("the part `name` is missing: the name of the circuit"))?;
        Ok(CircuitUpload::new(name, files, trust, sample)?)
    }

    /// The next piece of the present part.
    async fn piece(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = tokio::time::timeout(self.idle, self.form.next()).await;
        let next = next.map_err(|_| malformed(&FormError::Stalled { idle: self.idle }))?;
        next.transpose().map_err(|error| malformed(&error))
    }

    async fn text(&mut self, part: &str) -> Result<String, ApiError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.piece().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > TEXT_MAX_BYTES {
                return Err(invalid(format!("the part `{part}` has more than {TEXT_MAX_BYTES} bytes")));
            }
        }
        let text = String::from_utf8(bytes);
        text.map_err(|_| invalid(format!("the part `{part}` is not text in UTF-8")))
    }

    /// The inputs of the sample. They stay in memory, which is overwritten when it is freed.
    async fn sample(&mut self) -> Result<Vec<u8>, ApiError> {
        let mut json = Vec::new();
        while let Some(piece) = self.piece().await? {
            json.extend_from_slice(&piece);
            if json.len() as u64 > INPUTS_MAX_BYTES {
                let detail =
                    format!("the part `input` has more than {INPUTS_MAX_BYTES} bytes, which is the limit");
                return Err(ApiError::new(ProblemType::InputsTooLarge, detail));
            }
        }
        Ok(json)
    }

    /// Writes a file to the spool, and computes its digest on the way.
    async fn file(&mut self, kind: FileKind) -> Result<UploadedFile, ApiError> {
        let (mut file, mut hash) = (self.spool.create()?, Sha256::new());
        let mut gathered = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(too_large)?;
            gathered.extend_from_slice(&piece);
            if gathered.len() >= WRITE_BYTES {
                let full = gathered.split().freeze();
                hash.update(&full);
                file.append(full).await?;
            }
        }
        hash.update(&gathered);
        if !gathered.is_empty() {
            file.append(gathered.freeze()).await?;
        }
        Ok(UploadedFile { kind, file, sha256: hash.finalize().into() })
    }
}

fn unknown_part() -> ApiError {
    let files: Vec<String> = FileKind::ALL.iter().map(|kind| format!("`{}`", kind.part())).collect();
    invalid(format!(
        "a part of the form has another name than `name`, {}, `input` or `trust`",
        files.join(", ")
    ))
}
