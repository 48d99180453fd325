//! Every endpoint of the service in one table: [`ALL`].
//!
//! The edge derives from it which requests it forwards, its `Allow` headers and the path patterns of its log. The
//! server takes from it the time limit of each route, and a test compares the server's router with it. `GET /` of both
//! lists it.
//!
//! A new endpoint needs a row here, a handler in the server and a line in the server's router. The edge needs no change
//! unless it answers the endpoint itself.

use serde::Serialize;

/// The method of an endpoint. An endpoint with [`Method::Get`] also answers `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `GET` and `HEAD`.
    Get,
    /// `POST`.
    Post,
    /// `DELETE`.
    Delete,
}

/// The purpose of an endpoint. It determines the time limit of a request and the callers that may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Describes the service: its endpoints, circuits and problem types.
    Info,
    /// Computes a proof or accepts a job. Its requests have the long time limit.
    Proof,
    /// Asks for a circuit, uploads one, or uses one to verify a proof. Its requests have the long time limit: a circuit is
    /// checked or loaded meanwhile.
    Circuit,
    /// Lists the jobs of one caller. A caller without a key has no list at the edge.
    JobList,
    /// Reads or cancels one job, or counts all of them.
    Job,
    /// Shows how one job goes. A page needs no key for it, but the token of the job's link: [`LINK_TOKEN`].
    LinkedJob,
    /// Mints a token for a page on behalf of an API key.
    Voucher,
    /// Gives jobs to provers that pull, and takes their outcomes. Its requests have the long time limit: they wait for jobs and
    /// for the verification of proofs.
    Work,
    /// Shows the records of one server to its operators, or changes what belongs to others.
    Operator,
    /// Reports the state of one server and is polled. It needs no secret of the edge.
    Probe,
}

/// How the edge handles a request for an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EdgeAction {
    /// The edge forwards the request to the container that the rule selects.
    Forward(ContainerRule),
    /// The edge forwards the request to the container that the query names, but only if it is awake: the endpoint shows
    /// what this container did, and a monitor polls it.
    ForwardIfAwake(Audience),
    /// The edge answers with the page to browsers, and with the list of endpoints to others. A server answers with its own
    /// list.
    ListEndpoints,
    /// The edge answers with a file of the page, as a server does.
    ServePage,
    /// The edge reports its own state and that of its containers. No server has this endpoint.
    ReportHealth,
    /// The edge answers 404: the endpoint concerns one server, and its operator reaches that server directly.
    Hide,
}

/// The callers whose requests the edge forwards, where an endpoint shows the records of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// Every caller that the edge admits.
    Everyone,
    /// Holders of a key with the role of operators, by the edge's own settings.
    Operators,
}

/// Which container answers, where each container has jobs of its own. Where containers share a database, any of them
/// may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerRule {
    /// Any container.
    Any,
    /// The same container for the same caller and `Idempotency-Key`; any container for a request without that header.
    ByIdempotencyKey,
    /// The container whose number is in the job id of the path.
    OwnerOfJob,
    /// The container that the query names: `?container=N`.
    NamedInQuery,
}

/// One endpoint. `GET /` shows its method, path and summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path. A segment in braces, such as `{id}`, stands for any one segment that is not empty.
    pub path: &'static str,
    /// Its purpose.
    #[serde(skip)]
    pub class: Class,
    /// How the edge handles it.
    #[serde(skip)]
    pub edge: EdgeAction,
    /// What it does, for people.
    pub summary: &'static str,
}

impl Class {
    /// Whether its requests have the long time limit.
    #[must_use]
    pub const fn has_long_limit(self) -> bool {
        match self {
            Self::Proof | Self::Circuit | Self::Work => true,
            Self::Info
            | Self::JobList
            | Self::Job
            | Self::LinkedJob
            | Self::Voucher
            | Self::Operator
            | Self::Probe => false,
        }
    }
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Get, Self::Post, Self::Delete];

    /// Its name in a request.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// The method of endpoints that answer a request with this method name.
    #[must_use]
    pub fn of_request(name: &str) -> Option<Self> {
        let name = if name == "HEAD" { "GET" } else { name };
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

impl Endpoint {
    const fn new(
        method: Method,
        path: &'static str,
        class: Class,
        edge: EdgeAction,
        summary: &'static str,
    ) -> Self {
        Self { method, path, class, edge, summary }
    }

    /// Whether a server has this endpoint.
    #[must_use]
    pub const fn is_on_server(&self) -> bool {
        match self.edge {
            EdgeAction::Forward(_)
            | EdgeAction::ForwardIfAwake(_)
            | EdgeAction::ListEndpoints
            | EdgeAction::ServePage
            | EdgeAction::Hide => true,
            EdgeAction::ReportHealth => false,
        }
    }

    /// Whether the edge has this endpoint: it answers or forwards its requests.
    #[must_use]
    pub const fn is_at_edge(&self) -> bool {
        match self.edge {
            EdgeAction::Forward(_)
            | EdgeAction::ForwardIfAwake(_)
            | EdgeAction::ListEndpoints
            | EdgeAction::ServePage
            | EdgeAction::ReportHealth => true,
            EdgeAction::Hide => false,
        }
    }

    /// Whether a page with a voucher may use it: to prove, to read and cancel its own jobs, to verify, and for what is open to
    /// everybody.
    #[must_use]
    pub fn accepts_vouchers(&self) -> bool {
        match self.class {
            Class::Info | Class::Proof | Class::LinkedJob | Class::Probe => true,
            Class::Job => self.edge == FORWARD_TO_OWNER,
            Class::Circuit => self.path == VERIFY,
            Class::JobList | Class::Voucher | Class::Work | Class::Operator => false,
        }
    }

    /// Whether a path is one of this endpoint. A path with an empty segment, such as `/api/prove/`, is none.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let is_match = self.path.split('/').all(|pattern| {
            let segment = segments.next();
            if is_parameter(pattern) {
                segment.is_some_and(|segment| !segment.is_empty())
            } else {
                segment == Some(pattern)
            }
        });
        is_match && segments.next().is_none()
    }

    /// The segment of a path that stands for the parameter of this endpoint, such as the job id for `{id}`.
    #[must_use]
    pub fn parameter<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut pairs = self.path.split('/').zip(path.split('/'));
        pairs.find_map(|(pattern, segment)| is_parameter(pattern).then_some(segment))
    }
}

fn is_parameter(pattern: &str) -> bool {
    pattern.starts_with('{')
}

/// The endpoints of a server.
pub fn on_server() -> impl Iterator<Item = &'static Endpoint> {
    ALL.iter().filter(|endpoint| endpoint.is_on_server())
}

/// The endpoints of the edge.
pub fn at_edge() -> impl Iterator<Item = &'static Endpoint> {
    ALL.iter().filter(|endpoint| endpoint.is_at_edge())
}

/// The endpoint of a server with this method and path pattern.
#[must_use]
pub fn find_on_server(method: Method, pattern: &str) -> Option<&'static Endpoint> {
    on_server().find(|endpoint| endpoint.method == method && endpoint.path == pattern)
}

/// The path patterns of one class of endpoints.
pub fn patterns_of(class: Class) -> impl Iterator<Item = &'static str> {
    ALL.iter().filter(move |endpoint| endpoint.class == class).map(|endpoint| endpoint.path)
}

/// The parameter of a query with the token of a job's link, for endpoints of the class [`Class::LinkedJob`].
pub const LINK_TOKEN: &str = "token";

/// The path that verifies a proof.
const VERIFY: &str = "/v1/verify/{circuit}";

const FORWARD: EdgeAction = EdgeAction::Forward(ContainerRule::Any);
const FORWARD_BY_KEY: EdgeAction = EdgeAction::Forward(ContainerRule::ByIdempotencyKey);
const FORWARD_TO_OWNER: EdgeAction = EdgeAction::Forward(ContainerRule::OwnerOfJob);
const FORWARD_TO_NAMED: EdgeAction = EdgeAction::Forward(ContainerRule::NamedInQuery);
const RECORDS: EdgeAction = EdgeAction::ForwardIfAwake(Audience::Everyone);
const RECORDS_FOR_OPERATORS: EdgeAction = EdgeAction::ForwardIfAwake(Audience::Operators);

/// The table: method, path, class, handling at the edge, and a summary for people.
#[rustfmt::skip] // One row for each endpoint.
pub const ALL: &[Endpoint] = &[
    Endpoint::new(Method::Get, "/", Class::Info, EdgeAction::ListEndpoints,
        "lists the endpoints; a page for browsers, by Accept: text/html"),
    Endpoint::new(Method::Get, "/openapi.json", Class::Info, FORWARD,
        "this interface as an OpenAPI document"),
    Endpoint::new(Method::Get, "/docs", Class::Info, FORWARD,
        "the OpenAPI document as a page, for people"),
    Endpoint::new(Method::Get, "/assets/{name}", Class::Info, EdgeAction::ServePage,
        "a file of the page"),
    Endpoint::new(Method::Get, "/local-prover", Class::Info, FORWARD,
        "whether the page can prove in the browser, and with which files"),
    Endpoint::new(Method::Get, "/local-prover/{name}", Class::Info, FORWARD,
        "a file with which the page proves in the browser"),
    Endpoint::new(Method::Get, "/.well-known/edgeprove", Class::Info, FORWARD,
        "versions, limits, and the keys for which clients seal what they send"),
    Endpoint::new(Method::Post, "/api/prove", Class::Proof, FORWARD_BY_KEY,
        "proves a gzipped witness of the default circuit, or inputs as JSON, and responds with the proof's bytes, with JSON for \
         Accept: application/json, or with proof, public inputs and verification key for Accept: application/x-tar; \
         ?target=evm for Solidity verifiers"),
    Endpoint::new(Method::Post, "/api/prove/{circuit}", Class::Proof, FORWARD_BY_KEY,
        "the same for the named circuit"),
    Endpoint::new(Method::Get, "/v1/circuits", Class::Info, FORWARD,
        "the circuits: state, targets, size, hash of the verification key"),
    Endpoint::new(Method::Post, "/v1/circuits", Class::Circuit, FORWARD,
        "asks for the circuit of a template: {\"templateName\": \"NAME\", \"params\": {…}}; responds 200 with the circuit, or 202 \
         while it is built. Operators upload a compiled circuit as multipart/form-data; 201 when it can be proved"),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}", Class::Info, FORWARD,
        "a circuit with its inputs: name, type, visibility"),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}/events", Class::Info, FORWARD,
        "the events of the build of a circuit, as server-sent events or over a WebSocket"),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}/program", Class::Info, FORWARD,
        "the program of a configured circuit of Noir, for browsers that prove by themselves; where the server has --page-local"),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}/vk", Class::Info, FORWARD,
        "the verification key of a circuit, as the file that bb and edgeprove verify take; ?target="),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}/verifier.sol", Class::Info, FORWARD,
        "the verifier contract of a circuit that was built or uploaded"),
    Endpoint::new(Method::Get, "/v1/circuits/{circuit}/artifacts/{name}", Class::Info, FORWARD,
        "a file of a circuit that was built or uploaded"),
    Endpoint::new(Method::Delete, "/v1/circuits/{circuit}", Class::Operator, EdgeAction::Hide,
        "removes a circuit that was built or uploaded; for operators"),
    Endpoint::new(Method::Post, "/v1/circuits/{circuit}/deploy", Class::Operator, EdgeAction::Hide,
        "deploys the verifier contract of a circuit: {\"rpcUrl\": \"URL\", \"privateKey\": \"KEY\", \"chainId\": N}; for operators"),
    Endpoint::new(Method::Post, VERIFY, Class::Circuit, FORWARD,
        "verifies a proof that the caller sends: {\"proof\": …, \"publicInputs\": […]}; ?on=evm with the verifier contract"),
    Endpoint::new(Method::Get, "/v1/templates", Class::Info, FORWARD,
        "the circuit templates: languages, and what each proves"),
    Endpoint::new(Method::Get, "/v1/templates/{name}", Class::Info, FORWARD,
        "a circuit template: parameters as JSON Schema, public inputs, a sample, sizes"),
    Endpoint::new(Method::Get, "/api/health", Class::Info, FORWARD,
        "versions, circuits and provers; 200 when proofs can be computed; at the edge it wakes a container"),
    Endpoint::new(Method::Get, "/health", Class::Info, FORWARD,
        "the same as /api/health"),
    Endpoint::new(Method::Post, "/v1/proofs", Class::Proof, FORWARD_BY_KEY,
        "accepts a gzipped witness or inputs for ?circuit=NAME and responds 202 with a job; so does /api/prove with \
         Prefer: respond-async"),
    Endpoint::new(Method::Get, "/v1/proofs", Class::JobList, FORWARD_TO_NAMED,
        "the caller's jobs; ?status=, ?circuit=, ?id=, ?min_age=, ?max_age=, ?problem=, ?priority=, ?order=, ?limit=, ?after=; \
         for operators and observers ?owner= and ?kind="),
    Endpoint::new(Method::Get, "/v1/proofs/{id}", Class::LinkedJob, FORWARD_TO_OWNER,
        "a job: status, stage, position in the queue, estimate"),
    Endpoint::new(Method::Delete, "/v1/proofs/{id}", Class::Job, FORWARD_TO_OWNER,
        "cancels a job"),
    Endpoint::new(Method::Get, "/v1/proofs/{id}/proof", Class::Job, FORWARD_TO_OWNER,
        "the proof of a job"),
    Endpoint::new(Method::Post, "/v1/proofs/{id}/retry", Class::Operator, FORWARD_TO_OWNER,
        "queues a failed job again while its witness is there; for operators"),
    Endpoint::new(Method::Get, "/v1/proofs/{id}/calldata", Class::Job, FORWARD_TO_OWNER,
        "the call that verifies the proof of a job in its verifier contract"),
    Endpoint::new(Method::Get, "/v1/proofs/{id}/events", Class::LinkedJob, FORWARD_TO_OWNER,
        "the events of a job, as server-sent events or over a WebSocket"),
    Endpoint::new(Method::Post, "/v1/vouchers", Class::Voucher, FORWARD,
        "mints a short-lived token for a page on behalf of an API key: {\"circuit\": \"NAME\", \"uses\": N, \"expires\": SECONDS, \
         \"origin\": \"ORIGIN\", \"priority\": \"NORMAL\"}"),
    Endpoint::new(Method::Get, "/v1/queue", Class::Job, FORWARD_TO_NAMED,
        "counts the jobs and shows how long they wait"),
    Endpoint::new(Method::Get, "/v1/stats", Class::Job, RECORDS,
        "recent proofs of this server: running, waiting, success rate and durations, by circuit and priority"),
    Endpoint::new(Method::Get, "/v1/estimate", Class::Job, FORWARD,
        "how long a proof of ?circuit=NAME would take and wait, the memory it needs, and how sure that is"),
    Endpoint::new(Method::Get, "/v1/board/events", Class::Job, RECORDS,
        "the board of this server, as server-sent events: jobs, proofs, provers, circuits, problems"),
    Endpoint::new(Method::Post, "/v1/board/cancel", Class::Operator, RECORDS_FOR_OPERATORS,
        "cancels a batch of the jobs that a filter selects, as GET /v1/proofs has it; for operators"),
    Endpoint::new(Method::Post, "/v1/board/retry", Class::Operator, RECORDS_FOR_OPERATORS,
        "queues a batch of the failed jobs that a filter selects again; for operators"),
    Endpoint::new(Method::Get, "/problems/{code}", Class::Info, FORWARD,
        "explains the code of a problem"),
    Endpoint::new(Method::Get, "/v1/audit", Class::Operator, RECORDS_FOR_OPERATORS,
        "entries of the audit log, as JSON lines, after entry ?after=N or the ?last=N; for operators"),
    Endpoint::new(Method::Get, "/v1/scale", Class::Operator, EdgeAction::Hide,
        "how many provers the queue needs, for autoscalers: ?drain=, ?min=, ?max=; for operators and observers"),
    Endpoint::new(Method::Post, "/v1/work/claims", Class::Work, EdgeAction::Hide,
        "claims proof jobs for a prover that pulls, and waits for one; for the role prover, as all of /v1/work"),
    Endpoint::new(Method::Get, "/v1/work/{job}/witness", Class::Work, EdgeAction::Hide,
        "the witness of a claimed job, for the holder of its lease: X-Lease"),
    Endpoint::new(Method::Post, "/v1/work/{job}/heartbeat", Class::Work, EdgeAction::Hide,
        "renews the lease of a claimed job, and reports its stage: {\"lease\": …, \"stage\": …}"),
    Endpoint::new(Method::Post, "/v1/work/{job}/outcome", Class::Work, EdgeAction::Hide,
        "ends a claimed job: {\"lease\": …, \"outcome\": {\"completed\": {\"proof\": …}}}, failed or released"),
    Endpoint::new(Method::Get, "/livez", Class::Probe, EdgeAction::Hide,
        "200 while the process runs"),
    Endpoint::new(Method::Get, "/readyz", Class::Probe, EdgeAction::Hide,
        "200 while the server accepts work"),
    Endpoint::new(Method::Get, "/metrics", Class::Probe, RECORDS_FOR_OPERATORS,
        "counts and durations, in the text format of Prometheus; at the edge for operators"),
    Endpoint::new(Method::Get, "/edge/health", Class::Info, EdgeAction::ReportHealth,
        "the edge and its containers; it wakes no container"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn example(endpoint: &Endpoint) -> String {
        endpoint.path.replace(['{', '}'], "")
    }

    #[test]
    fn every_method_and_path_is_in_the_table_once() {
        let rows: BTreeSet<_> = ALL.iter().map(|endpoint| (endpoint.method, endpoint.path)).collect();
        assert_eq!(rows.len(), ALL.len());
        for endpoint in ALL {
            let patterns: BTreeSet<_> = ALL
                .iter()
                .filter(|other| other.matches(&example(endpoint)))
                .map(|other| other.path)
                .collect();
            assert_eq!(patterns, BTreeSet::from([endpoint.path]), "patterns overlap");
        }
    }

    #[test]
    fn a_path_with_an_empty_or_further_segment_matches_nothing() {
        for endpoint in ALL {
            let path = example(endpoint);
            let mut wrong =
                vec![format!("{path}/"), format!("/{path}"), format!("{path}/more"), String::new()];
            if let Some((before, _)) = endpoint.path.split_once("/{") {
                wrong.push(format!("{before}/"));
                let parameters = ["{id}", "{circuit}", "{name}", "{code}", "{job}"];
                wrong.push(
                    parameters.iter().fold(endpoint.path.to_owned(), |path, name| path.replace(name, "")),
                );
            }
            for path in wrong.iter().filter(|path| *path != "/") {
                assert!(!endpoint.matches(path), "{path} matches {}", endpoint.path);
            }
        }
    }

    #[test]
    fn a_parameter_is_the_segment_in_braces() {
        let find = |pattern| find_on_server(Method::Get, pattern).unwrap();
        assert_eq!(find("/v1/proofs/{id}/events").parameter("/v1/proofs/c3-x/events"), Some("c3-x"));
        assert_eq!(find("/v1/queue").parameter("/v1/queue"), None);
    }

    #[test]
    fn only_endpoints_with_a_job_id_go_to_the_owner_of_a_job() {
        for endpoint in ALL {
            let has_id = endpoint.path.contains("{id}");
            assert_eq!(endpoint.edge == FORWARD_TO_OWNER, has_id, "{}", endpoint.path);
        }
    }

    #[test]
    fn a_voucher_is_for_proofs_its_own_jobs_and_what_is_open() {
        let accepted = ALL.iter().filter(|endpoint| endpoint.accepts_vouchers());
        let closed = accepted.filter(|endpoint| !matches!(endpoint.class, Class::Info | Class::Probe));
        let closed: Vec<_> = closed.map(|endpoint| (endpoint.method.as_str(), endpoint.path)).collect();
        assert_eq!(
            closed,
            [
                ("POST", "/api/prove"),
                ("POST", "/api/prove/{circuit}"),
                ("POST", "/v1/verify/{circuit}"),
                ("POST", "/v1/proofs"),
                ("GET", "/v1/proofs/{id}"),
                ("DELETE", "/v1/proofs/{id}"),
                ("GET", "/v1/proofs/{id}/proof"),
                ("GET", "/v1/proofs/{id}/calldata"),
                ("GET", "/v1/proofs/{id}/events"),
            ]
        );
    }

    #[test]
    fn a_link_reads_jobs_and_changes_nothing() {
        for endpoint in ALL.iter().filter(|endpoint| endpoint.class == Class::LinkedJob) {
            assert_eq!(
                (endpoint.method, endpoint.edge),
                (Method::Get, FORWARD_TO_OWNER),
                "{}",
                endpoint.path
            );
        }
    }

    #[test]
    fn head_requests_go_to_the_endpoints_of_get() {
        assert_eq!(Method::of_request("HEAD"), Some(Method::Get));
        assert_eq!(Method::of_request("DELETE"), Some(Method::Delete));
        assert_eq!(Method::of_request("get"), None);
        assert_eq!(Method::of_request("TRACE"), None);
    }
}
