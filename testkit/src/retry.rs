//! A client that repeats a request as docs/ERRORS.md describes.

use std::{thread, time::Duration};

use edgeprove_protocol::Problem;

use crate::{ProblemType, Response};

/// The pause after no response at all.
const PAUSE_WITHOUT_RESPONSE: Duration = Duration::from_secs(1);

/// A client that sends a request again as long as the problem is retryable, after the time of `Retry-After`.
#[derive(Debug, Clone, Copy)]
pub struct RetryingClient {
    /// How often it sends a request at most.
    pub attempts_max: usize,
    /// The longest `Retry-After` that it is willing to wait.
    pub wait_max: Duration,
}

/// What a client got in the end.
#[derive(Debug)]
pub struct Retried {
    /// The last response.
    pub response: Response,
    /// The problems before it, one for each attempt.
    pub refusals: Vec<ProblemType>,
}

impl Default for RetryingClient {
    fn default() -> Self {
        Self { attempts_max: 10, wait_max: Duration::from_mins(1) }
    }
}

impl RetryingClient {
    /// Sends a request until it has its result, or must not be repeated. `send` gets the number of the attempt, from 0,
    /// and returns `None` where there is no response.
    #[track_caller]
    pub fn run(self, mut send: impl FnMut(usize) -> Option<Response>) -> Retried {
        let mut refusals = Vec::new();
        for attempt in 0.. {
            let is_last = attempt + 1 >= self.attempts_max;
            let Some(response) = send(attempt) else {
                assert!(!is_last, "no response to the last attempt; before: {refusals:?}");
                thread::sleep(PAUSE_WITHOUT_RESPONSE);
                continue;
            };
            match retry_after(&response).filter(|(_, wait)| !is_last && *wait <= self.wait_max) {
                Some((problem, wait)) => {
                    refusals.push(problem);
                    thread::sleep(wait);
                }
                None => return Retried { response, refusals },
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// The problem and the time to wait; `None` if the request must not be repeated.
#[track_caller]
fn retry_after(response: &Response) -> Option<(ProblemType, Duration)> {
    if response.status.is_success() {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&response.body).expect("a problem document");
    if !problem.retryable {
        return None;
    }
    let kind = problem.code.known().expect("a code of this version");
    let seconds = response.header("retry-after").parse();
    let seconds = seconds.unwrap_or_else(|_| panic!("{kind:?} is retryable and has no Retry-After"));
    Some((kind, Duration::from_secs(seconds)))
}
