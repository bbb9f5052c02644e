"""Buckets of MiniStack 1.5.33's CloudFormation, with what it drops of a template.

Tags (CDK's automatic emptying asks for one), lifecycle rules, encryption with a key that is named, and the refusal to
delete a bucket that holds objects or versions of deleted ones.
"""

from typing import Any
from xml.etree import ElementTree

from ministack.services import s3
from ministack.services.cloudformation import provisioners

from localaws.ministack_version import require_adapted_version

Record = dict[str, Any]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def install() -> None:
    """Puts the adapter in place."""
    require_adapted_version()
    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def create_whole(logical_id: str, properties: Record, stack: str) -> Any:
        return _apply(create(logical_id, properties, stack), properties)

    def update_whole(physical_id: str, old: Record, new: Record, stack: str) -> Any:
        return _apply(update(physical_id, old, new, stack), new)

    def delete_empty(physical_id: str, properties: Record) -> None:
        if s3._buckets.get(physical_id, {}).get("objects") or s3._bucket_has_versions(physical_id):
            raise ValueError(f"The bucket you tried to delete is not empty: {physical_id}")
        delete(physical_id, properties)

    handlers.update(create=create_whole, update=update_whole, delete=delete_empty)


def _apply(answer: Any, properties: Record) -> Any:
    bucket = answer[0]
    s3._bucket_tags[bucket] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
    rules = properties.get("LifecycleConfiguration", {}).get("Rules", [])
    if rules:
        status, _headers, body = s3._put_bucket_lifecycle(bucket, lifecycle_xml(rules))
        if status >= 300:
            raise ValueError(f"AWS::S3::Bucket lifecycle rules were refused: {body!r}")
    else:
        s3._bucket_lifecycle.pop(bucket, None)
    rules = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
    keys = [rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID") for rule in rules]
    if any(keys):  # MiniStack knows no key of S3's own for SSE-KMS, as CDK's bootstrap bucket has it
        status, _headers, body = s3._put_bucket_encryption(bucket, encryption_xml(keys))
        if status >= 300:
            raise ValueError(f"AWS::S3::Bucket encryption was refused: {body!r}")
    else:
        s3._bucket_encryption.pop(bucket, None)
    return answer


def encryption_xml(keys: list[str]) -> bytes:
    """SSE-KMS with these keys as the body of PutBucketEncryption."""
    root = ElementTree.Element("ServerSideEncryptionConfiguration", xmlns=_NAMESPACE)
    for key in keys:
        default = ElementTree.SubElement(ElementTree.SubElement(root, "Rule"), "ApplyServerSideEncryptionByDefault")
        _leaf(default, "SSEAlgorithm", "aws:kms")
        _leaf(default, "KMSMasterKeyID", key)
    return ElementTree.tostring(root)


def lifecycle_xml(rules: list[Record]) -> bytes:
    """CloudFormation's lifecycle rules as the body of PutBucketLifecycleConfiguration.

    Raises:
        ValueError: a rule has a property that is not translated here.
    """
    root = ElementTree.Element("LifecycleConfiguration", xmlns=_NAMESPACE)
    for index, rule in enumerate(rules):
        node = ElementTree.SubElement(root, "Rule")
        _leaf(node, "ID", rule.get("Id", f"rule-{index}"))
        _leaf(ElementTree.SubElement(node, "Filter"), "Prefix", rule.get("Prefix", ""))
        _leaf(node, "Status", rule["Status"])
        for name in rule.keys() - {"Id", "Prefix", "Status"}:
            parent, leaf, value = _action(name, rule[name])
            _leaf(ElementTree.SubElement(node, parent), leaf, value)
    return ElementTree.tostring(root)


def _action(name: str, value: Any) -> tuple[str, str, Any]:
    if name == "ExpirationInDays":
        return "Expiration", "Days", value
    if name == "ExpiredObjectDeleteMarker":
        return "Expiration", name, str(value).lower()
    if name == "AbortIncompleteMultipartUpload":
        return name, "DaysAfterInitiation", value["DaysAfterInitiation"]
    if name == "NoncurrentVersionExpiration":
        return name, "NoncurrentDays", value["NoncurrentDays"]
    raise ValueError(f"the local emulator does not know the lifecycle rule property {name}")


def _leaf(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)
