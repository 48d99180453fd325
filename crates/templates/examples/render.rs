//! Writes the files of a circuit into a folder, for the author of a template.
//!
//!   cargo run --package edgeprove-templates --example render -- NAME LANGUAGE FOLDER [PARAMETERS]
//!
//! PARAMETERS is JSON; the default is the template's sample.

#![allow(clippy::print_stderr, reason = "it reports to the author")]

use std::{error::Error, fs, path::Path, process::ExitCode};

use edgeprove_templates::{Catalogue, Instance, Language};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, language, folder, parameters) = match *arguments.as_slice() {
        [name, language, folder] => (name, language, folder, None),
        [name, language, folder, parameters] => (name, language, folder, Some(parameters)),
        _ => {
            eprintln!("usage: render NAME LANGUAGE FOLDER [PARAMETERS]");
            return ExitCode::from(64);
        }
    };
    match render(name, language, Path::new(folder), parameters) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn render(name: &str, language: &str, folder: &Path, parameters: Option<&str>) -> Result<(), Box<dyn Error>> {
    let catalogue = Catalogue::embedded()?;
    let language: Language = serde_json::from_value(language.into())?;
    let template = catalogue.find(name, Some(language))?;
    let instance = match parameters {
        Some(json) => Instance::new(template, &json.parse()?)?,
        None => Instance::sample(template)?,
    };
    for (name, text) in instance.files() {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}
