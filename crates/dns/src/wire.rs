//! Our records on the wire, and one question to one server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name as WireName, RData, Record, RecordType as WireType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::name::Name;
use crate::record::{RecordSet, RecordType};

/// The UDP answer size asked for: fits every path without fragments.
const UDP_SIZE: u16 = 1232;

/// A TXT string holds this many octets; longer values are several strings.
const TXT_STRING: usize = 255;

/// Why a server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

/// An answer with what is known about its way here.
pub(crate) struct Answer {
    pub message: Message,
    /// The UDP answer was cut short and the question was asked again over TCP.
    pub truncated: bool,
    pub rtt: Duration,
}

/// Asks one server one question: once over UDP, and over TCP if the answer was cut short.
pub(crate) async fn ask(
    server: SocketAddr,
    name: &WireName,
    kind: WireType,
    recursion: bool,
    limit: Duration,
) -> Result<Answer, AskError> {
    let started = Instant::now();
    let mut query = Message::query();
    query.metadata.recursion_desired = recursion;
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE).set_version(0);
    query.edns = Some(edns);
    query.add_query(Query::query(name.clone(), kind));
    let bytes = query
        .to_vec()
        .map_err(|e| AskError::Malformed(e.to_string()))?;
    let exchange = async {
        let message = over_udp(server, &query, &bytes).await?;
        if !message.metadata.truncation {
            return Ok::<_, AskError>((message, false));
        }
        Ok((over_tcp(server, &query, &bytes).await?, true))
    };
    let (message, truncated) = tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_| AskError::Timeout(limit))??;
    Ok(Answer {
        message,
        truncated,
        rtt: started.elapsed(),
    })
}

async fn over_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, AskError> {
    let any = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind::<SocketAddr>(any).await?;
    // Connected: only this server's datagrams arrive, and a closed port is an error at once.
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not answer this question is someone else's or forged; keep listening.
        if let Ok(message) = Message::from_vec(&buffer[..length])
            && answers(&message, query)
        {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> Result<Message, AskError> {
    let mut stream = TcpStream::connect(server).await?;
    send_framed(&mut stream, bytes).await?;
    let reply = receive_framed(&mut stream).await?;
    let message = Message::from_vec(&reply).map_err(|e| AskError::Malformed(e.to_string()))?;
    if answers(&message, query) {
        Ok(message)
    } else {
        Err(AskError::Malformed("it answers another question".into()))
    }
}

/// Sends a message with its length in front, in one write.
pub(crate) async fn send_framed(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let length = u16::try_from(bytes.len())
        .map_err(|_| io::Error::other("the message is longer than 65535 octets"))?;
    let mut framed = Vec::with_capacity(bytes.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await
}

/// Receives a message with its length in front.
pub(crate) async fn receive_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn answers(message: &Message, query: &Message) -> bool {
    message.metadata.id == query.metadata.id
        && message.metadata.message_type == MessageType::Response
        // Some servers leave the question out of a refusal.
        && (message.queries == query.queries || message.queries.is_empty())
}

pub(crate) fn wire_type(kind: RecordType) -> WireType {
    match kind {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Txt => WireType::TXT,
    }
}

fn known_type(kind: WireType) -> Option<RecordType> {
    RecordType::ALL.into_iter().find(|k| wire_type(*k) == kind)
}

/// Encodes one value, or nothing if it does not fit the type.
pub(crate) fn encode(kind: RecordType, value: &str) -> Option<RData> {
    Some(match kind {
        RecordType::A => RData::A(A(value.parse().ok()?)),
        RecordType::Aaaa => RData::AAAA(AAAA(value.parse().ok()?)),
        RecordType::Cname => RData::CNAME(CNAME(Name::parse(value).ok()?.wire().clone())),
        RecordType::Txt => {
            let strings: Vec<&[u8]> = value.as_bytes().chunks(TXT_STRING).collect();
            RData::TXT(TXT::from_bytes(if strings.is_empty() {
                vec![b""]
            } else {
                strings
            }))
        }
    })
}

fn decode(data: &RData) -> Option<String> {
    Some(match data {
        RData::A(ip) => ip.0.to_string(),
        RData::AAAA(ip) => ip.0.to_string(),
        RData::CNAME(target) => Name::from_wire(&target.0).to_string(),
        RData::TXT(txt) => String::from_utf8_lossy(&txt.txt_data.concat()).into_owned(),
        _ => return None,
    })
}

/// Groups records of the types we know into sets, in the order in which they first appear.
pub(crate) fn sets(records: &[Record]) -> Vec<RecordSet> {
    let mut sets: Vec<RecordSet> = Vec::new();
    for record in records {
        let (Some(kind), Some(value)) = (known_type(record.record_type()), decode(&record.data))
        else {
            continue;
        };
        let name = Name::from_wire(&record.name);
        match sets
            .iter_mut()
            .find(|set| set.name == name && set.kind == kind)
        {
            Some(set) => {
                // RFC 2181, 5.2: should they differ, the least one counts.
                set.ttl = set.ttl.min(record.ttl);
                set.values.push(value);
            }
            None => sets.push(RecordSet {
                name,
                kind,
                ttl: record.ttl,
                values: vec![value],
            }),
        }
    }
    for set in &mut sets {
        set.values.sort();
        set.values.dedup();
    }
    sets
}

/// Spells a response code as DNS tools do.
pub(crate) fn rcode(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        other => format!("RCODE{}", u16::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_the_wire() {
        let name = Name::parse("h.example.test").unwrap();
        let long = "x".repeat(600);
        for (kind, values) in [
            (RecordType::A, vec!["192.0.2.1", "192.0.2.2"]),
            (RecordType::Aaaa, vec!["2001:db8::1"]),
            (RecordType::Cname, vec!["ams.example.test"]),
            (RecordType::Txt, vec!["", "v1 owner=\"a\"", &long]),
        ] {
            let set = RecordSet::new(name.clone(), kind, 60, values).unwrap();
            let records: Vec<Record> = set
                .values
                .iter()
                .map(|v| Record::from_rdata(name.wire().clone(), 60, encode(kind, v).unwrap()))
                .collect();
            assert_eq!(sets(&records), [set]);
        }
    }

    #[test]
    fn a_set_has_its_least_ttl() {
        let name = Name::parse("h.example.test").unwrap();
        let record = |ttl, ip| {
            Record::from_rdata(name.wire().clone(), ttl, encode(RecordType::A, ip).unwrap())
        };
        let grouped = sets(&[record(60, "192.0.2.2"), record(5, "192.0.2.1")]);
        assert_eq!(
            grouped,
            [RecordSet::new(name, RecordType::A, 5, ["192.0.2.1", "192.0.2.2"]).unwrap()]
        );
    }
}
