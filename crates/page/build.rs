//! Embeds `web/page/dist`, as far as features ask for it: a constant with every file. The files are built and committed by `npm --prefix web/page run build`, so this
//! needs no Node.js.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/page/dist").canonicalize()?;
    println!("cargo:rerun-if-changed={}", dist.display());
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = PathBuf::from(out);
    let mut files = Vec::new();
    for entry in fs::read_dir(&dist)? {
        files.push(entry?.path());
    }
    files.sort_unstable();
    let mut code = String::from("pub(crate) const FILES: &[PageFile] = &[\n");
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file)?;
        let digest = hex::encode(&Sha256::digest(&text)[..16]);
        let _ = write!(
            code,
            "    PageFile {{ name: {name:?}, media_type: {:?}, tag: {:?},",
            media_type(&name)?,
            format!("W/\"{digest}\""),
        );
        if cfg!(feature = "text") {
            let _ = write!(code, " text: include_str!({:?}),", file.display().to_string());
        }
        gzip(&out.join(format!("{name}.gz")), text.as_bytes(), &mut code)?;
        code.push_str(" },\n");
    }
    code.push_str("];\n");
    fs::write(out.join("files.rs"), code)
}

fn media_type(name: &str) -> io::Result<&'static str> {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => Ok("text/html; charset=utf-8"),
        Some("js") => Ok("text/javascript; charset=utf-8"),
        Some("css") => Ok("text/css; charset=utf-8"),
        Some("svg") => Ok("image/svg+xml"),
        _ => Err(io::Error::other(format!("web/page/dist/{name} has no known extension"))),
    }
}

#[cfg(feature = "gzip")]
fn gzip(path: &Path, bytes: &[u8], code: &mut String) -> io::Result<()> {
    use io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    fs::write(path, encoder.finish()?)?;
    let _ = write!(code, " gzip: include_bytes!({:?})", path.display().to_string());
    Ok(())
}

#[cfg(not(feature = "gzip"))]
#[expect(clippy::unnecessary_wraps, reason = "it has the signature of the other one")]
fn gzip(_: &Path, _: &[u8], _: &mut String) -> io::Result<()> {
    Ok(())
}
