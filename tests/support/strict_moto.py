"""moto's server, with the parts of Route 53 corrected that the tests rely on.

As shipped, moto 5.2.5 judges a batch by a journal of past requests instead of by what stands in the zone: a CREATE
is refused if the same one was ever made before (so there is no way back after a failover), a DELETE passes if the
value ever stood there, a CNAME may stand beside an A, and a refused batch has already applied its first members.
Here a batch is judged as a whole against the zone, in Route 53's words and with its code, and then applied as a
whole. And where rights are judged, the signature is computed over the body alone: moto takes a GET's parameters for
a body and refuses every signature over it. Everything else (wire format, IAM, listings, ids) is moto's own.

usage: strict_moto.py -H 127.0.0.1 -p PORT
"""

import sys

from botocore.awsrequest import AWSRequest
from moto.iam.access_control import IAMRequestBase
from moto.route53 import models
from moto.route53.exceptions import DnsNameInvalidForZone, Route53ClientError
from moto.server import main


def refuse(text):
    raise Route53ClientError("InvalidChangeBatch", f"[{text}]")


def absolute(name):
    return name.rstrip(".").lower() + "."


def judge(zone, changes):
    """Returns the record sets after the batch, or refuses all of it."""
    after = {(absolute(r.name), r.type, r.set_identifier): r for r in zone.rrsets}
    for change in changes:
        action, wanted = change["Action"], dict(change["ResourceRecordSet"])
        name, kind = absolute(wanted["Name"]), wanted["Type"]
        if not (name == absolute(zone.name) or name.endswith("." + absolute(zone.name))):
            raise DnsNameInvalidForZone(name=wanted["Name"], zone_name=zone.name)
        wanted["Name"] = name
        wanted["ResourceRecords"] = [r["Value"] for r in wanted.get("ResourceRecords", [])]
        key = (name, kind, wanted.get("SetIdentifier"))
        there = after.get(key)
        label = f"resource record set [name='{name}', type='{kind}']"
        if action == "DELETE":
            if there is None:
                refuse(f"Tried to delete {label} but it was not found")
            same = str(there.ttl) == str(wanted.get("TTL")) and sorted(there.records) == sorted(wanted["ResourceRecords"])
            if not same:
                refuse(f"Tried to delete {label} but the values provided do not match the current values")
            del after[key]
            continue
        if action == "CREATE" and there is not None:
            refuse(f"Tried to create {label} but it already exists")
        if kind == "CNAME" and name == absolute(zone.name):
            refuse(f"RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone.name}")
        others = [k for (n, k, _) in after if n == name and k != kind]
        if others and (kind == "CNAME" or "CNAME" in others):
            refuse(f"RRSet of type {kind} with DNS name {name} is not permitted because a conflicting RRSet exists")
        after[key] = models.RecordSet(wanted)
    return list(after.values())


def change_resource_record_sets(self, zoneid, change_list):
    zone = self.get_hosted_zone(zoneid)
    zone.rrsets = judge(zone, change_list)


def create_aws_request(self):
    signed = self._get_string_between("SignedHeaders=", ",", self._headers["Authorization"]).split(";")
    headers = self._create_headers_for_aws_request(signed, self._headers)
    request = AWSRequest(method=self._method, url=self._path, data=self._body or b"", headers=headers)
    request.context["timestamp"] = headers["X-Amz-Date"]
    return request


IAMRequestBase._create_aws_request = create_aws_request
models.Route53Backend.change_resource_record_sets = change_resource_record_sets
main(sys.argv[1:])
