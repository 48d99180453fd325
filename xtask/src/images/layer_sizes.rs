//! The compressed size of an image.
//!
//! The engine reports only the unpacked size, but layers are pushed, pulled and billed compressed by gzip. So this
//! saves the image and compresses each layer as a push does.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
};

use anyhow::Context;
use bytesize::ByteSize;
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;

use super::docker;

/// The largest JSON file of a saved image. Larger files are layers.
const MAX_JSON_BYTES: u64 = 1 << 20;

/// A layer of an image.
#[derive(Debug)]
pub(super) struct Layer {
    /// The instruction of the Dockerfile.
    pub(super) instruction: String,
    /// Its size when unpacked.
    pub(super) unpacked: ByteSize,
    /// Its size when compressed.
    pub(super) compressed: ByteSize,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    history: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

/// Measures every layer of an image that the engine has.
pub(super) fn measure(image: &str) -> anyhow::Result<Vec<Layer>> {
    layers(docker::save(image)?).with_context(|| format!("the layers of {image} cannot be measured"))
}

fn layers(archive: impl Read) -> anyhow::Result<Vec<Layer>> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let file = match entry.link_name()? {
            // A layer that occurs twice is a link to its first occurrence.
            Some(target) => files.get(target.to_string_lossy().trim_start_matches("../")).cloned(),
            None => Some(SavedFile::read(&mut entry)?),
        };
        files.extend(file.map(|file| (name, file)));
    }
    let file = |name: &str| files.get(name).with_context(|| format!("the saved image lacks {name}"));

    let manifests: Vec<Manifest> = serde_json::from_slice(&file("manifest.json")?.head)?;
    let manifest = manifests.first().context("the saved archive contains no image")?;
    let config: Config = serde_json::from_slice(&file(&manifest.config)?.head)?;
    let steps = config.history.into_iter().filter(|step| !step.empty_layer);
    let layer = |(name, step): (&String, Step)| {
        let file = file(name)?;
        Ok(Layer { instruction: step.created_by, unpacked: file.unpacked, compressed: file.compressed })
    };
    manifest.layers.iter().zip(steps).map(layer).collect()
}

#[derive(Debug, Clone)]
struct SavedFile {
    /// All of a JSON file, or the beginning of a layer.
    head: Vec<u8>,
    unpacked: ByteSize,
    compressed: ByteSize,
}

impl SavedFile {
    fn read(mut content: impl Read) -> io::Result<Self> {
        let mut head = Vec::new();
        content.by_ref().take(MAX_JSON_BYTES).read_to_end(&mut head)?;
        let mut whole = head.as_slice().chain(content);
        let mut compressor = GzEncoder::new(Counter(0), Compression::default());
        let unpacked = io::copy(&mut whole, &mut compressor)?;
        let compressed = compressor.finish()?.0;
        Ok(Self { head, unpacked: ByteSize(unpacked), compressed: ByteSize(compressed.min(unpacked)) })
    }
}

/// Counts the bytes that are written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_layer_has_its_size_and_instruction() {
        let zeros = vec![0; 3 << 20];
        let config = br#"{"history": [{"created_by": "COPY a"}, {"created_by": "ENV b", "empty_layer": true},
                                      {"created_by": "COPY c"}]}"#;
        let archive = saved(&[
            ("one/layer.tar", &zeros),
            ("two/layer.tar", b"some text"),
            ("c.json", config),
            ("manifest.json", br#"[{"Config": "c.json", "Layers": ["one/layer.tar", "two/layer.tar"]}]"#),
        ]);
        let layers = layers(archive.as_slice()).unwrap();
        let measured: Vec<(&str, u64)> =
            layers.iter().map(|l| (l.instruction.as_str(), l.unpacked.as_u64())).collect();
        assert_eq!(measured, [("COPY a", 3 << 20), ("COPY c", 9)]);
        assert!(
            layers[0].compressed < ByteSize::kib(8),
            "zeros should compress well, but: {}",
            layers[0].compressed
        );
        assert!(layers[1].compressed <= layers[1].unpacked);
    }

    #[test]
    fn an_archive_without_a_manifest_is_not_an_image() {
        let error = layers(saved(&[("one/layer.tar", b"")]).as_slice()).unwrap_err();
        assert_eq!(error.to_string(), "the saved image lacks manifest.json");
    }
}
