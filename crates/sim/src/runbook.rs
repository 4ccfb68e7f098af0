//! The `runbook.yaml` that describes a sandbox.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use base64::Engine;

use crate::{
    sandbox::{Direction, ENDPOINT_TTL, KEY_NAME, Sandbox, ZONE},
    seed::ROBOT,
};

impl Sandbox {
    /// Writes the secrets as files of mode 0600 into a folder and gives the text of a `runbook.yaml` that
    /// refers to them.
    ///
    /// # Errors
    /// The folder is missing or not writable.
    pub fn runbook_yaml(&self, secrets: &Path) -> io::Result<String> {
        let secrets = std::path::absolute(secrets)?;
        for site in [self.primary(), self.dr()] {
            write_secret(
                &secrets,
                &format!("{}-password", site.name()),
                site.admin_password(),
            )?;
        }
        let key = base64::engine::general_purpose::STANDARD.encode(&self.inner.dns_secret);
        write_secret(&secrets, "tsig", &key)?;

        let folder = secrets.display();
        let scale = self.time_scale();
        let scaled = if scale == 1.0 {
            String::new()
        } else {
            format!("time-scale: {scale}\n")
        };
        let site = |name: &str, url: &str, region: &str| {
            format!(
                "  {name}:\n    url: \"{url}\"\n    region: {region}\n    auth: {{ user: admin, password: \"file:{folder}/{name}-password\" }}\n    timeout: 5s\n"
            )
        };
        let sites =
            site("primary", self.primary().url(), "here") + &site("dr", self.dr().url(), "there");
        let (direction, policies) = match self.direction() {
            Direction::Pull => ("pull", "forward: dr-forward, reverse: dr-reverse"),
            Direction::Push => (
                "push",
                "forward: dr-forward, reverse: dr-reverse, final-sync: dr-final-sync, final-reverse-sync: dr-final-reverse-sync",
            ),
        };
        let (first, second) = (self.dns().primary(), self.dns().secondary());
        let port = self.primary().address().port();
        let name = self.endpoint_name();
        Ok(format!(
            r#"version: 1
{scaled}sites:
{sites}topologies:
  dr:
    dr-pair:
      active: primary
      standby: dr
      direction: {direction}
      policies: {{ {policies} }}
    objectives: {{ rto: 15m, rpo: 15m }}
    endpoint:
      name: {name}
      url: "http://{name}:{port}"
      dns:
        - rfc2136:
            zone: {ZONE}
            server: "{first}"
            type: CNAME
            ttl: {ENDPOINT_TTL}
            key: {{ name: {KEY_NAME}, algorithm: hmac-sha256, secret: "file:{folder}/tsig" }}
            authoritative: ["{first}", "{second}"]
      targets: {{ primary: primary.{ZONE}, dr: dr.{ZONE} }}
      verify: [authoritative]
      resolver: "{first}"
      probe: {{ project: library }}
    robots: {{ name: {ROBOT} }}
"#
        ))
    }
}

fn write_secret(folder: &Path, name: &str, secret: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(folder.join(name))?;
    file.write_all(secret.as_bytes())
}
