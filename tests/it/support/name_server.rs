use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What it does with a question.
#[derive(Clone, Debug)]
pub enum Zone {
    /// These addresses, in this order, for every name but an SRV record's.
    Hosts(Vec<Ipv4Addr>),
    /// These targets, by name, port and address.
    Targets(Vec<(&'static str, u16, Ipv4Addr)>),
    /// There is no such name.
    Gone,
    /// No answer.
    Silent,
}

/// A name server on loopback that answers what it is told to, with a time to live of a second.
pub struct NameServer {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<usize>>,
}

impl NameServer {
    pub fn new(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let server =
            NameServer { address, zone: Arc::new(Mutex::new(zone)), asked: Arc::default() };
        let (zone, asked) = (server.zone.clone(), server.asked.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut bytes) {
                let answer = answer(&Message::from_vec(&bytes[..length]).unwrap(), &zone);
                if let Some(answer) = answer {
                    socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
                }
                *asked.lock().unwrap() += 1;
            }
        });
        server
    }

    /// From now on it says this.
    pub fn says(&self, zone: Zone) {
        *self.zone.lock().unwrap() = zone;
    }

    /// Waits until it was asked, and asked again: what it says now has been heard.
    #[track_caller]
    pub fn wait_until_heard(&self) {
        let before = *self.asked.lock().unwrap();
        super::wait_until("it is asked again", || *self.asked.lock().unwrap() >= before + 4);
    }
}

fn answer(question: &Message, zone: &Mutex<Zone>) -> Option<Message> {
    let query = question.queries.first()?.clone();
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    let (name, kind) = (query.name().clone(), query.query_type());
    answer.queries.push(query);
    let record = |data| Record::from_rdata(name.clone(), 1, data);
    match (&*zone.lock().unwrap(), kind) {
        (Zone::Silent, _) => return None,
        (Zone::Gone, _) => answer.metadata.response_code = ResponseCode::NXDomain,
        (Zone::Hosts(hosts), RecordType::A) => {
            answer.answers.extend(hosts.iter().map(|&host| record(RData::A(A(host)))));
        }
        (Zone::Targets(targets), RecordType::SRV) => {
            for &(target, port, _) in targets {
                let target = Name::from_ascii(target).unwrap();
                answer.answers.push(record(RData::SRV(SRV::new(0, 1, port, target))));
            }
        }
        (Zone::Targets(targets), RecordType::A) => {
            let asked = name.to_ascii();
            let found = targets.iter().filter(|(target, ..)| *target == asked);
            answer.answers.extend(found.map(|&(.., host)| record(RData::A(A(host)))));
        }
        _ => {}
    }
    Some(answer)
}
