//! `GET /v1/scale`: how many provers the queue needs, for autoscalers.
//!
//! 1. The caller is an operator or an observer (401, 403), and within its rate (429). The query is of the right form (400).
//! 2. 200 with the number; 503 where there are no jobs, or the job store cannot be reached.

use axum::{
    Json,
    extract::{FromRequestParts as _, Query, Request, State},
    response::{IntoResponse as _, Response},
};
use edgeprove_job_rules::scale::{ScaleBounds, desired};
use edgeprove_protocol::{ProblemType, work::Scale};
use serde::Deserialize;

use crate::{
    access::Caller,
    http::{
        api_error::ApiError, caller::observes, extract::seconds, job_response::no_store, state::AppState,
    },
    jobs::scale::{PROVERS_MAX, WINDOWS},
};

/// The query.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleQuery {
    drain: Option<String>,
    min: Option<u32>,
    max: Option<u32>,
}

/// See the module.
pub async fn scale(State(app): State<AppState>, request: Request) -> Result<Response, ApiError> {
    let (mut parts, _) = request.into_parts();
    let caller = Caller::from_request_parts(&mut parts, &app).await?;
    app.access.count(&caller)?;
    observes(&app, &caller, &parts)?;
    let jobs = app.jobs()?;
    let query = Query::<ScaleQuery>::from_request_parts(&mut parts, &app).await.map(|Query(query)| query);
    let bounds = query.ok().and_then(|query| bounds(&query, jobs.scale.bounds())).ok_or_else(|| {
        let detail = format!(
            "the query allows `drain`, 1 to 86400 seconds, and `min` and `max`, numbers of provers up to {PROVERS_MAX}, of which \
             `min` is the lower one"
        );
        ApiError::new(ProblemType::InvalidRequest, detail)
    })?;
    let demand = jobs.scale.demand(&jobs.gauges.counter).await?;
    let answer = Scale {
        desired: desired(demand, bounds),
        queued: demand.queued,
        running: demand.running,
        busy: demand.busy,
        idle: jobs.pull.waiting().into(),
        p95_seconds: demand.p95.map(|p95| p95.as_secs_f64()),
        drain_seconds: bounds.drain.as_secs_f64(),
        min: bounds.min,
        max: bounds.max,
    };
    Ok(no_store(Json(answer).into_response()))
}

/// The bounds of a query, and else those of the settings. `None`: they are invalid.
fn bounds(query: &ScaleQuery, default: ScaleBounds) -> Option<ScaleBounds> {
    let drain = match &query.drain {
        Some(text) => seconds(text).filter(|drain| WINDOWS.contains(drain))?,
        None => default.drain,
    };
    let min = query.min.unwrap_or(default.min);
    // A lower bound of the query alone raises the upper one of the settings.
    let max = query.max.unwrap_or_else(|| default.max.max(min));
    let min = if query.min.is_none() { min.min(max) } else { min };
    (min <= max && max <= PROVERS_MAX).then_some(ScaleBounds { drain, min, max })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(drain: Option<&str>, min: Option<u32>, max: Option<u32>) -> Option<(u64, u32, u32)> {
        let query = ScaleQuery { drain: drain.map(str::to_owned), min, max };
        let default = ScaleBounds { drain: Duration::from_mins(1), min: 2, max: 10 };
        bounds(&query, default).map(|bounds| (bounds.drain.as_secs(), bounds.min, bounds.max))
    }

    #[test]
    fn the_query_overrides_the_settings() {
        assert_eq!(read(None, None, None), Some((60, 2, 10)));
        assert_eq!(read(Some("300"), Some(0), Some(3)), Some((300, 0, 3)));
        assert_eq!(read(None, Some(20), None), Some((60, 20, 20)));
        assert_eq!(read(None, None, Some(1)), Some((60, 1, 1)));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(read(None, Some(3), Some(2)), None);
        assert_eq!(read(Some("60s"), None, None), None, "with a unit");
        assert_eq!(read(Some("0"), None, None), None);
        assert_eq!(read(None, None, Some(PROVERS_MAX + 1)), None);
    }
}
