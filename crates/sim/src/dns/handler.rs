//! Requests: verify, work, reply, with whatever is to go wrong in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType, TSigResponseContext, TSigner};
use hickory_proto::serialize::binary::BinEncoder;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use super::faults::{DnsRequestSeen, Edge, Fault, Faults, Scope, Verdict};
use super::versions::Versions;
use super::zone::Zone;
use super::{UpdateSeen, lock, tsig};

/// Which of the two servers a handler answers for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Primary,
    Secondary,
}

/// What both servers share with the one who started them.
pub(super) struct Shared {
    pub key: TSigner,
    pub versions: Mutex<Versions>,
    pub log: Mutex<Vec<UpdateSeen>>,
    pub faults: Faults,
}

pub(super) struct Handler {
    role: Role,
    shared: Arc<Shared>,
}

/// The reply of an UPDATE: its code, and how to sign it.
struct Reply {
    code: ResponseCode,
    sign: Option<TSigResponseContext>,
}

impl Handler {
    pub fn new(role: Role, shared: Arc<Shared>) -> Handler {
        Handler { role, shared }
    }

    /// Returns the reply, or nothing when there is to be none.
    async fn update(&self, request: &Request, now: u64) -> Option<Reply> {
        let number = self.shared.faults.count(true);
        let faults = self.shared.faults.take(Scope::Updates);
        let seen = |edge| DnsRequestSeen {
            number,
            update: true,
            edge,
        };
        if self.shared.faults.verdict(&seen(Edge::Before)) == Verdict::Drop {
            return None;
        }
        // The connection's task does not watch the client, so work that is delayed is done even if nobody waits.
        hold_up(&faults).await;
        if let Some(code) = plain_refusal(&faults) {
            self.record(request, number, &rcode_text(code), Vec::new(), true);
            return Some(Reply { code, sign: None });
        }
        let skew: i64 = faults
            .iter()
            .map(|f| if let Fault::ClockSkew(s) = f { *s } else { 0 })
            .sum();
        let (believed, sign) =
            tsig::verify(&self.shared.key, request, now.saturating_add_signed(skew));
        let (code, spelled, effects) = match believed {
            Err(reason) => {
                let code = if sign.is_some() {
                    ResponseCode::NotAuth
                } else {
                    ResponseCode::Refused
                };
                (code, reason.0.to_owned(), Vec::new())
            }
            Ok(()) => {
                let mut versions = lock(&self.shared.versions);
                let mut zone = Zone::clone(&versions.primary());
                match self.work(&mut zone, request, &faults) {
                    Ok(effects) => {
                        if !effects.is_empty() {
                            versions.publish(zone);
                        }
                        (
                            ResponseCode::NoError,
                            rcode_text(ResponseCode::NoError),
                            effects,
                        )
                    }
                    Err(code) => (code, rcode_text(code), Vec::new()),
                }
            }
        };
        let verdict = self.shared.faults.verdict(&seen(Edge::After));
        let replied = verdict == Verdict::Proceed && !faults.contains(&Fault::LoseReply);
        self.record(request, number, &spelled, effects, replied);
        replied.then_some(Reply { code, sign })
    }

    /// Zone, right, prerequisites, form, effect. The right comes before the prerequisites, as BIND 9.18 does it:
    /// a key without the right learns nothing, and a condition that cannot hold proves the right.
    fn work(
        &self,
        zone: &mut Zone,
        request: &Request,
        faults: &[Fault],
    ) -> Result<Vec<super::Effect>, ResponseCode> {
        if self.role == Role::Secondary {
            return Err(ResponseCode::Refused);
        }
        let asked = request.queries.queries();
        let [section] = asked else {
            return Err(ResponseCode::FormErr);
        };
        if section.query_type() != RecordType::SOA || section.query_class() != DNSClass::IN {
            return Err(ResponseCode::FormErr);
        }
        let apex: Name = section.name().into();
        if apex != *zone.origin() {
            return Err(ResponseCode::NotAuth);
        }
        let (prerequisites, updates) = (&request.answers, &request.authorities);
        if !updates
            .iter()
            .all(|r| self.shared.faults.allows(&r.name.to_ascii()))
        {
            return Err(ResponseCode::Refused);
        }
        zone.prerequisites(prerequisites)?;
        zone.prescan(updates)?;
        let before = zone.clone();
        let effects = zone.update(updates);
        if faults.contains(&Fault::DropRecord) {
            zone.lose(updates);
            return Ok(zone.effects_since(&before));
        }
        Ok(effects)
    }

    fn record(
        &self,
        request: &Request,
        number: u64,
        rcode: &str,
        effects: Vec<super::Effect>,
        replied: bool,
    ) {
        let seen = UpdateSeen {
            number,
            from: request.src(),
            rcode: rcode.to_owned(),
            effects,
            replied,
        };
        lock(&self.shared.log).push(seen);
    }

    /// Whether the query is to be worked on at all, and with which refusal.
    async fn before_query(&self, number: u64) -> Option<Result<bool, ResponseCode>> {
        let scope = match self.role {
            Role::Primary => Scope::PrimaryQueries,
            Role::Secondary => Scope::SecondaryQueries,
        };
        let faults = self.shared.faults.take(scope);
        let seen = DnsRequestSeen {
            number,
            update: false,
            edge: Edge::Before,
        };
        if self.shared.faults.verdict(&seen) == Verdict::Drop {
            return None;
        }
        hold_up(&faults).await;
        if let Some(code) = plain_refusal(&faults) {
            return Some(Err(code));
        }
        Some(Ok(!faults.contains(&Fault::LoseReply)))
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut out: R,
    ) -> ResponseInfo {
        let builder = || MessageResponseBuilder::from_message_request(request);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        match request.metadata.op_code {
            OpCode::Update => {
                let Some(reply) = self.update(request, T::current_time()).await else {
                    return silence(request);
                };
                let mut metadata =
                    Metadata::new(request.metadata.id, MessageType::Response, OpCode::Update);
                metadata.response_code = reply.code;
                let mut response = builder().build_no_records(metadata);
                if let Some(sign) = reply.sign {
                    // The signature covers the exact bytes that go out: encode a twin first.
                    let mut bytes = Vec::with_capacity(512);
                    let twin = builder()
                        .build_no_records(metadata)
                        .destructive_emit(&mut BinEncoder::new(&mut bytes));
                    match twin.and_then(|_| sign.sign(&bytes)) {
                        Ok(signature) => response.set_signature(signature),
                        Err(error) => {
                            tracing::error!(%error, "an update's reply could not be signed")
                        }
                    }
                }
                sent(request, out.send_response(response).await)
            }
            OpCode::Query => {
                let number = self.shared.faults.count(false);
                let reply = match self.before_query(number).await {
                    None => return silence(request),
                    Some(Err(code)) => {
                        metadata.response_code = code;
                        return sent(
                            request,
                            out.send_response(builder().build_no_records(metadata))
                                .await,
                        );
                    }
                    Some(Ok(reply)) => reply,
                };
                let Ok(info) = request.request_info() else {
                    metadata.response_code = ResponseCode::FormErr;
                    return sent(
                        request,
                        out.send_response(builder().build_no_records(metadata))
                            .await,
                    );
                };
                let zone = {
                    let mut versions = lock(&self.shared.versions);
                    if self.role == Role::Primary {
                        versions.primary()
                    } else {
                        versions.secondary()
                    }
                };
                let answer = zone.lookup(&info.query.name().into(), info.query.query_type());
                metadata.response_code = answer.code;
                metadata.authoritative = answer.code != ResponseCode::Refused;
                let seen = DnsRequestSeen {
                    number,
                    update: false,
                    edge: Edge::After,
                };
                if self.shared.faults.verdict(&seen) == Verdict::Drop || !reply {
                    return silence(request);
                }
                let mut builder = builder();
                if let Some(edns) = &request.edns {
                    builder.edns(edns);
                }
                let nothing = || std::iter::empty();
                let response = builder.build(
                    metadata,
                    answer.answers.iter(),
                    nothing(),
                    answer.authority.iter(),
                    nothing(),
                );
                sent(request, out.send_response(response).await)
            }
            _ => {
                metadata.response_code = ResponseCode::NotImp;
                sent(
                    request,
                    out.send_response(builder().build_no_records(metadata))
                        .await,
                )
            }
        }
    }
}

/// Waits as the faults say; for ever when the server hangs.
async fn hold_up(faults: &[Fault]) {
    if faults.contains(&Fault::Hang) {
        std::future::pending::<()>().await;
    }
    let delay: Duration = faults
        .iter()
        .map(|f| {
            if let Fault::Delay(d) = f {
                *d
            } else {
                Duration::ZERO
            }
        })
        .sum();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

fn plain_refusal(faults: &[Fault]) -> Option<ResponseCode> {
    faults.iter().find_map(|fault| match fault {
        Fault::Refuse => Some(ResponseCode::Refused),
        Fault::ServFail => Some(ResponseCode::ServFail),
        _ => None,
    })
}

/// The library wants to hear what was answered; nothing was.
fn silence(request: &Request) -> ResponseInfo {
    let metadata = Metadata::response_from_request(&request.metadata);
    ResponseInfo::from(Header {
        metadata,
        counts: HeaderCounts::default(),
    })
}

fn sent<E: std::fmt::Display>(request: &Request, sent: Result<ResponseInfo, E>) -> ResponseInfo {
    sent.unwrap_or_else(|error| {
        tracing::debug!(%error, "the client of a DNS request is gone");
        silence(request)
    })
}

fn rcode_text(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}
