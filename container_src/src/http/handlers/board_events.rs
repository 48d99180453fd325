//! `GET /v1/board/events`: the board, as server-sent events.

use std::convert::Infallible;

use axum::{
    Extension,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use http::HeaderValue;

use crate::{
    access::Caller,
    http::{
        api_error::ApiError,
        board::{BoardEvent, BoardStream},
        caller::Identity,
        extract::NamedContainer,
        state::AppState,
    },
};

/// 1. The caller is known and within its rate (401, 429). The board has numbers and circuits, and nothing of any job: it is for
///    every caller that may read `GET /v1/queue` and `GET /v1/stats`. The query is of the right form (400).
/// 2. Neither the caller nor the server has too many open streams (429, 503).
/// 3. 200 with a stream: first all sections, then those that changed. It ends when the key is withdrawn.
pub async fn board_events(
    State(app): State<AppState>,
    caller: Caller,
    _container: NamedContainer,
    Extension(identity): Extension<Identity>,
) -> Result<Response, ApiError> {
    app.access.count(&caller)?;
    let account = caller.share_account().into_owned();
    let permit = match app.jobs() {
        Ok(jobs) => jobs.watch_permits.admit([account])?,
        Err(_) => app.board.permits().admit([account])?,
    };
    let events = stream::unfold(BoardStream::new(&app, identity, permit), |mut board| async move {
        let BoardEvent { version, sections } = board.next().await?;
        let event = Event::default().id(version.to_string()).event("board").data(sections);
        Some((Ok::<_, Infallible>(event), board))
    });
    let keep_alive = KeepAlive::new().interval(app.options.stream_keep_alive);
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Asks proxies not to buffer the stream.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
