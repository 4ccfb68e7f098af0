//! Real image content: layers, configs, manifests and indexes with their digests.

use axum::body::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A manifest with its media type and the blobs and manifests it needs, ready to be stored.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) media_type: String,
    pub(crate) manifest: Bytes,
    pub(crate) blobs: Vec<Bytes>,
    pub(crate) children: Vec<Image>,
}

impl Image {
    pub(crate) fn digest(&self) -> String {
        digest(&self.manifest)
    }
}

/// The digest of some bytes, as registries write it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// An image of one small layer whose content follows from `seed`: equal seeds give equal digests.
pub(crate) fn image(seed: &str, architecture: &str) -> Image {
    let layer = Bytes::from(layer_bytes(seed, 2048));
    let config = Bytes::from(
        json!({
            "architecture": architecture, "os": "linux", "created": "2026-11-01T00:00:00Z",
            "config": { "Cmd": ["/x"], "Labels": { "seed": seed } },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        })
        .to_string(),
    );
    let manifest = json!({
        "schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
        "config": { "mediaType": DOCKER_CONFIG, "size": config.len(), "digest": digest(&config) },
        "layers": [{ "mediaType": DOCKER_LAYER, "size": layer.len(), "digest": digest(&layer) }],
    });
    Image {
        media_type: DOCKER_MANIFEST.to_owned(),
        manifest: Bytes::from(manifest.to_string()),
        blobs: vec![config, layer],
        children: Vec::new(),
    }
}

/// An image index over two architectures.
pub(crate) fn index(seed: &str) -> Image {
    let children: Vec<Image> = ["amd64", "arm64"]
        .map(|arch| image(&format!("{seed}-{arch}"), arch))
        .into();
    let manifests: Vec<Value> = children
        .iter()
        .zip(["amd64", "arm64"])
        .map(|(child, architecture)| {
            json!({
                "mediaType": child.media_type, "size": child.manifest.len(), "digest": child.digest(),
                "platform": { "architecture": architecture, "os": "linux" },
            })
        })
        .collect();
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    Image {
        media_type: OCI_INDEX.to_owned(),
        manifest: Bytes::from(manifest.to_string()),
        blobs: Vec::new(),
        children,
    }
}

/// A signature-like accessory of another manifest (an OCI referrer).
pub(crate) fn accessory(subject: &Image) -> Image {
    let config = Bytes::from_static(b"{}");
    let layer = Bytes::from(format!("signature of {}", subject.digest()));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.dev.cosign.artifact.sig.v1+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "size": config.len(), "digest": digest(&config) },
        "layers": [{ "mediaType": "application/octet-stream", "size": layer.len(), "digest": digest(&layer) }],
        "subject": { "mediaType": subject.media_type, "size": subject.manifest.len(), "digest": subject.digest() },
    });
    Image {
        media_type: OCI_MANIFEST.to_owned(),
        manifest: Bytes::from(manifest.to_string()),
        blobs: vec![config, layer],
        children: Vec::new(),
    }
}

/// What a manifest refers to.
#[derive(Clone, Debug, Default)]
pub(crate) struct References {
    /// Config and layers, with their sizes.
    pub(crate) blobs: Vec<(String, u64)>,
    /// Manifests of an index.
    pub(crate) children: Vec<String>,
    /// The manifest that this one is an accessory of.
    pub(crate) subject: Option<String>,
}

/// Reads the references out of a manifest; `None` when it is no JSON object.
pub(crate) fn references(manifest: &[u8]) -> Option<References> {
    let value: Value = serde_json::from_slice(manifest).ok()?;
    value.as_object()?;
    let digest_of = |item: &Value| item["digest"].as_str().map(str::to_owned);
    let mut found = References {
        subject: digest_of(&value["subject"]),
        ..References::default()
    };
    let layers = value["layers"].as_array().cloned().unwrap_or_default();
    for blob in std::iter::once(&value["config"]).chain(&layers) {
        if let Some(digest) = digest_of(blob) {
            found
                .blobs
                .push((digest, blob["size"].as_u64().unwrap_or(0)));
        }
    }
    found.children = value["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(digest_of)
        .collect();
    Some(found)
}

/// The size of what a manifest stands for: itself with its config and layers.
pub(crate) fn total_size(manifest: &[u8], references: &References) -> u64 {
    manifest.len() as u64 + references.blobs.iter().map(|(_, size)| size).sum::<u64>()
}

fn layer_bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = Sha256::digest(seed.as_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}
