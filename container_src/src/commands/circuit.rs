//! `edgeprove circuit`: the circuits of a server.
//!
//! The exit status is 65 where the server refuses a file, a parameter or an input, 66 where a file cannot be read, and 1 for
//! every other refusal and where the server cannot be reached.
//!
//! - [`tables`]: circuits as people read them.
//! - [`deploy`]: deploys a verifier contract.
//! - [`folder_server`]: a server of a data folder, for as long as the command takes.
//! - [`waiting`]: waits for builds and deployments.

mod deploy;
mod folder_server;
mod tables;
mod waiting;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand};
use edgeprove_protocol::{
    CircuitId, Problem,
    answer::{CircuitEntry, CircuitList, CircuitStatus},
};
use edgeprove_templates::Language;
use http::Method;
use serde_json::{Map, Value, json};

use self::{
    deploy::DeployArgs,
    folder_server::FolderServer,
    waiting::{Awaited, until_ended},
};
use super::{
    exit_status::{self, Failure, other},
    form_body::{FormBody, UnreadablePart},
    remote_server::{ClientKeyArgs, RemoteServer, ServerError, ServerUrl},
    stop_signals,
};
use crate::{
    circuits::uploaded_files::{CircuitName, DeclaredTrust, FileKind},
    config::{Faults, RawSetting, raw_setting, setting::Setting, setting::words},
};

/// Most pages of a list. Each has up to 1,000 circuits.
const PAGES_MAX: usize = 1_000;

/// Flags of `edgeprove circuit`.
#[derive(Debug, Args)]
pub struct CircuitArgs {
    #[command(subcommand)]
    command: CircuitCommand,
}

#[derive(Debug, Subcommand)]
enum CircuitCommand {
    /// Upload a compiled circuit: the program of Noir, or the files of circom and snarkjs. Needs a key with the role
    /// `operator`.
    ///
    /// The server checks whether the files fit each other, and proves the sample of `--input`, before the circuit can be
    /// proved. Prints its id: the name with a part of the hash of the files.
    Add(Box<AddArgs>),
    /// List the circuits.
    List(ListArgs),
    /// Show one circuit, with its inputs and files.
    Show(ShowArgs),
    /// Ask for the circuit of a template, and wait until it can be proved. Prints its id.
    Build(Box<BuildArgs>),
    /// Deploy the verifier contract of a circuit, and wait until it is on the chain. Needs a key with the role `operator`, and
    /// a server with `--deploy-rpc`, not an edge. Prints its address.
    Deploy(Box<DeployArgs>),
    /// Remove a circuit that was built or uploaded. Needs a key with the role `operator`.
    Rm(RmArgs),
}

/// The server, and the key for it.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// URL of the server or the edge.
    #[arg(long, env = "EDGEPROVE_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = raw_setting::<ServerUrl>)]
    server: RawSetting<ServerUrl>,

    #[command(flatten)]
    key: ClientKeyArgs,

    /// Folder with the data of a server that does not run (`--data` of `serve`), in the place of a server and a key. The
    /// command starts a server on it, with the settings of the environment, and stops it at the end.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

words!(Language, "noir" => Language::Noir, "circom" => Language::Circom);
words!(
    DeclaredTrust,
    "ceremony" => DeclaredTrust::Ceremony,
    "local" => DeclaredTrust::Local,
    "unknown" => DeclaredTrust::Unknown
);

impl Setting for CircuitName {
    fn read(text: &str) -> Result<Self, String> {
        let expected = format!("a name of 1 to {} characters of A-Z a-z 0-9 - _", Self::MAX_BYTES);
        text.parse().map_err(|_| expected)
    }
}

impl Setting for CircuitId {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "the id of a circuit".to_owned())
    }
}

/// A parameter of a template, as `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq)]
struct Parameter {
    name: String,
    value: Value,
}

impl Setting for Parameter {
    fn read(text: &str) -> Result<Self, String> {
        let expected = || "a parameter as NAME=VALUE, where VALUE is JSON or a text".to_owned();
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(expected)?;
        Ok(Self { name: name.to_owned(), value: parameter_value(value) })
    }
}

/// The value of a parameter: JSON, or else the text. A whole number that JSON libraries would round stays a text.
fn parameter_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(number)) if number.is_f64() => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Name of the circuit.
    #[arg(value_name = "NAME", value_parser = raw_setting::<CircuitName>)]
    name: RawSetting<CircuitName>,

    /// Compiled program of Noir: target/NAME.json of `nargo compile`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["r1cs", "wasm", "zkey", "sym", "trust"], required_unless_present = "zkey")]
    program: Option<PathBuf>,

    /// Constraints that circom wrote.
    #[arg(long, value_name = "FILE", requires_all = ["wasm", "zkey"])]
    r1cs: Option<PathBuf>,

    /// Program that computes witnesses, of circom.
    #[arg(long, value_name = "FILE", requires_all = ["r1cs", "zkey"])]
    wasm: Option<PathBuf>,

    /// Key that snarkjs wrote.
    #[arg(long, value_name = "FILE", requires_all = ["r1cs", "wasm"])]
    zkey: Option<PathBuf>,

    /// Names of the signals that circom wrote. The server only stores them.
    #[arg(long, value_name = "FILE", requires = "zkey")]
    sym: Option<PathBuf>,

    /// Inputs of a sample as JSON, which the server proves: `{"privateInputs": {…}, "publicInputs": {…}}`, or for circom all
    /// signals.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Who made the key of a circom circuit: `ceremony`, `local` or `unknown`. The server cannot check it, and shows what
    /// you declare. Default: `unknown`.
    #[arg(long, value_name = "WHO", requires = "zkey", value_parser = raw_setting::<DeclaredTrust>)]
    trust: Option<RawSetting<DeclaredTrust>>,

    /// Print the answer of the server as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print one JSON object with all circuits.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Id of the circuit.
    #[arg(value_name = "ID", value_parser = raw_setting::<CircuitId>)]
    id: RawSetting<CircuitId>,

    /// Print the answer of the server as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct BuildArgs {
    /// Name of the template.
    #[arg(value_name = "TEMPLATE")]
    template: String,

    /// Language: `noir` or `circom`. Default: the first one of the template.
    #[arg(long, value_name = "LANGUAGE", value_parser = raw_setting::<Language>)]
    language: Option<RawSetting<Language>>,

    /// Parameter of the template. May be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = raw_setting::<Parameter>)]
    parameters: Vec<RawSetting<Parameter>>,

    /// Longest wait for the circuit. The server builds it in any case.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = raw_setting::<Duration>)]
    wait: RawSetting<Duration>,

    /// Print the circuit as JSON.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Args)]
struct RmArgs {
    /// Id of the circuit.
    #[arg(value_name = "ID", value_parser = raw_setting::<CircuitId>)]
    id: RawSetting<CircuitId>,

    #[command(flatten)]
    server: ServerArgs,
}

/// A circuit that was requested is not ready.
#[derive(Debug, thiserror::Error)]
enum NotBuilt {
    /// Its build failed.
    #[error("the circuit {id} could not be built: {reason}")]
    Failed { id: CircuitId, reason: String },
    /// It took too long.
    #[error(
        "the circuit {id} is still being built after {}; the same command waits on",
        humantime::format_duration(*wait)
    )]
    TooLate { id: CircuitId, wait: Duration },
    /// It is gone, such as removed by an operator.
    #[error("the circuit {id} is neither ready nor being built any more")]
    Gone { id: CircuitId },
    /// A list has too many pages.
    #[error("the server lists more than {PAGES_MAX} pages of circuits")]
    TooManyPages,
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        if error.is_about_what_was_sent() { Self::Data(Box::new(error)) } else { other(error) }
    }
}

impl From<UnreadablePart> for Failure {
    fn from(error: UnreadablePart) -> Self {
        Self::NoInput(Box::new(error))
    }
}

/// Runs `edgeprove circuit`.
#[must_use]
pub fn run(args: CircuitArgs) -> ExitCode {
    exit_status::run(async move {
        let mut command = args.command;
        let Some(folder) = command.server().data.take() else { return command.run().await };
        let stop = stop_signals::stop_or_hangup().map_err(other)?;
        let on_folder = async {
            let running = FolderServer::start(&folder).await?;
            let server = command.server();
            server.server = running.url();
            server.key = ClientKeyArgs::of(running.key());
            let ended = command.run().await;
            running.stop().await?;
            ended
        };
        tokio::select! {
            ended = on_folder => ended,
            name = stop => Err(other(Stopped(name))),
        }
    })
}

/// A signal ended the command.
#[derive(Debug, thiserror::Error)]
#[error("stopped by {0}")]
struct Stopped(&'static str);

impl CircuitCommand {
    fn server(&mut self) -> &mut ServerArgs {
        match self {
            Self::Add(args) => &mut args.server,
            Self::List(args) => &mut args.server,
            Self::Show(args) => &mut args.server,
            Self::Build(args) => &mut args.server,
            Self::Deploy(args) => &mut args.server,
            Self::Rm(args) => &mut args.server,
        }
    }

    async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Add(args) => args.run().await,
            Self::List(args) => args.run().await,
            Self::Show(args) => args.run().await,
            Self::Build(args) => args.run().await,
            Self::Deploy(args) => args.run().await,
            Self::Rm(args) => args.run().await,
        }
    }
}

impl ServerArgs {
    /// The server. Settings are read first, so that all errors are in one message.
    pub(super) fn open(self, faults: &mut Faults) -> Option<RemoteServer> {
        let url = faults.take("server", self.server);
        let key = self.key.read(faults);
        let client = RemoteServer::new(url?, key?);
        faults.ok(client)
    }
}

/// Prints lines or JSON. A reader that closes its end early is no failure.
pub(super) fn print(text: &str) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(other(error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub(super) fn print_json(document: &Value) -> Result<ExitCode, Failure> {
    print(&format!("{document:#}\n"))
}

/// A document of the server as a type.
pub(super) fn read<T: serde::de::DeserializeOwned>(document: &Value) -> Result<T, Failure> {
    T::deserialize(document).map_err(|source| ServerError::Unexpected(source.to_string()).into())
}

impl AddArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let name = faults.take_named("NAME", self.name);
        let trust = self.trust.map(|trust| faults.take_named("--trust", trust));
        let settings = server.zip(name).filter(|_| trust != Some(None));
        let (server, name) = faults.finish(settings)?;
        let mut form = FormBody::new();
        form.text("name", &name.to_string());
        if let Some(trust) = trust.flatten() {
            form.text("trust", trust.as_str());
        }
        let files = [
            (FileKind::Program.part(), self.program),
            (FileKind::R1cs.part(), self.r1cs),
            (FileKind::Wasm.part(), self.wasm),
            (FileKind::Zkey.part(), self.zkey),
            (FileKind::Sym.part(), self.sym),
            ("input", self.input),
        ];
        for (part, path) in files {
            if let Some(path) = path {
                form.file(part, &path)?;
            }
        }
        let document = server.upload("/v1/circuits", form).await?;
        let entry: CircuitEntry = read(&document)?;
        if self.json { print_json(&document) } else { print(&format!("{}\n", entry.id)) }
    }
}

impl ListArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let server = faults.finish(server)?;
        let (mut documents, mut entries) = (Vec::new(), Vec::new());
        let mut next = Some("/v1/circuits?limit=1000".to_owned());
        let mut pages = 0;
        while let Some(path) = next {
            pages += 1;
            if pages > PAGES_MAX {
                return Err(other(NotBuilt::TooManyPages));
            }
            let mut page = server.json(Method::GET, &path, None).await?;
            let CircuitList { circuits, next: following } = read(&page)?;
            entries.extend(circuits);
            if let Some(Value::Array(circuits)) = page.get_mut("circuits").map(Value::take) {
                documents.extend(circuits);
            }
            next = following;
        }
        if self.json { print_json(&json!({ "circuits": documents })) } else { print(&tables::list(&entries)) }
    }
}

impl ShowArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let id = faults.take_named("ID", self.id);
        let (server, id) = faults.finish(server.zip(id))?;
        let document = server.json(Method::GET, &format!("/v1/circuits/{id}"), None).await?;
        if self.json {
            return print_json(&document);
        }
        let deployments = match &document["deployments"] {
            Value::Null => Vec::new(),
            deployments => read(deployments)?,
        };
        print(&tables::details(&read(&document)?, &document["inputs"], &deployments))
    }
}

impl BuildArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let wait = faults.take_named("--wait", self.wait);
        let language = self.language.map(|language| faults.take_named("--language", language));
        let mut params = Map::new();
        for parameter in self.parameters {
            if let Some(Parameter { name, value }) = faults.take_named("--param", parameter)
                && params.insert(name.clone(), value).is_some()
            {
                faults.add(format!("--param: `{name}` is given twice"));
            }
        }
        let (server, wait) = faults.finish(server.zip(wait))?;
        let mut body = json!({ "templateName": self.template, "params": params });
        if let Some(language) = language.flatten() {
            body["language"] = language.as_str().into();
        }
        let document = server.json(Method::POST, "/v1/circuits", Some(&body)).await?;
        let build = PendingBuild { id: read::<CircuitEntry>(&document)?.id };
        let document = until_ended(&server, &build, document, wait).await?;
        if self.json { print_json(&document) } else { print(&format!("{}\n", build.id)) }
    }
}

/// The build that a command waits for.
struct PendingBuild {
    id: CircuitId,
}

impl Awaited for PendingBuild {
    fn doing(&self) -> String {
        format!("{} is being built", self.id)
    }

    fn path(&self) -> String {
        format!("/v1/circuits/{}", self.id)
    }

    fn part_of(&self, answer: Value) -> Option<Value> {
        Some(answer)
    }

    fn has_ended(&self, circuit: &Value) -> Result<bool, Failure> {
        let entry: CircuitEntry = read(circuit)?;
        match entry.status {
            CircuitStatus::Ready => Ok(true),
            CircuitStatus::Pending | CircuitStatus::Loading => Ok(false),
            CircuitStatus::Failed => {
                let error = NotBuilt::Failed { id: self.id.clone(), reason: reason(entry.error) };
                Err(Failure::Data(Box::new(error)))
            }
        }
    }

    fn gone(&self) -> Failure {
        other(NotBuilt::Gone { id: self.id.clone() })
    }

    fn too_late(&self, wait: Duration) -> Failure {
        other(NotBuilt::TooLate { id: self.id.clone(), wait })
    }
}

fn reason(problem: Option<Problem>) -> String {
    problem.map_or_else(|| "no reason is stored".to_owned(), |problem| problem.detail)
}

impl RmArgs {
    async fn run(self) -> Result<ExitCode, Failure> {
        let mut faults = Faults::default();
        let server = self.server.open(&mut faults);
        let id = faults.take_named("ID", self.id);
        let (server, id) = faults.finish(server.zip(id))?;
        server.json(Method::DELETE, &format!("/v1/circuits/{id}"), None).await?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_json_or_text() {
        let value = |text: &str| Parameter::read(text).unwrap().value;
        assert_eq!(value("min=100"), json!(100));
        assert_eq!(value("on=true"), json!(true));
        assert_eq!(value("list=[1, 2]"), json!([1, 2]));
        assert_eq!(value("mode=exact"), json!("exact"));
        assert_eq!(value("text=a=b"), json!("a=b"));
        assert_eq!(value("empty="), json!(""));
        let large = "123456789012345678901234567890";
        assert_eq!(value(&format!("max={large}")), json!(large), "it is not rounded");
        for bad in ["min", "=1", ""] {
            Parameter::read(bad).unwrap_err();
        }
    }
}
