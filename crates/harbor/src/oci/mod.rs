//! The registry itself: `/v2/` and its token service.
//!
//! The address may be another one than a site's: the service name that clients use. Host header and TLS name
//! are then those of the name, while [`Endpoint::connect_to`](crate::Endpoint) can say where to connect.

mod challenge;
mod login;
mod reader;
mod writer;

pub use login::{Login, Ping, Token};
pub use reader::{Manifest, ManifestHead, Reader};
pub use writer::Writer;

/// What manifests are asked for: images and lists of images, of Docker and of OCI.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Returns the digest of `bytes`, `sha256:` and 64 hex digits.
pub fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    hex_digest(&Sha256::digest(bytes))
}

fn hex_digest(hash: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hash {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_are_written_as_registries_do() {
        assert_eq!(
            super::digest(b""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
