"""What S3 says of the checksums of uploads in parts, and of their copies."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox_scene import Scene


@pytest.fixture
def s3(scene: Scene) -> Any:
    client = scene.sandbox.client("s3")
    client.create_bucket(Bucket=scene.name)
    return client


def upload_in_one_part(s3: Any, bucket: str, key: str, algorithm: str, kind: str) -> None:
    place = {"Bucket": bucket, "Key": key}
    upload = s3.create_multipart_upload(**place, ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
    part = s3.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"hello", ChecksumAlgorithm=algorithm)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts, ChecksumType=kind)


def headers(s3: Any, bucket: str, key: str) -> dict[str, str]:
    answer = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    found: dict[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return found


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_copy_of_an_upload_in_parts_can_be_read(s3: Any, scene: Scene, algorithm: str) -> None:
    upload_in_one_part(s3, scene.name, "parts", algorithm, "COMPOSITE")
    assert headers(s3, scene.name, "parts")[f"x-amz-checksum-{algorithm.lower()}"].endswith("-1")
    s3.copy_object(Bucket=scene.name, Key="copy", CopySource={"Bucket": scene.name, "Key": "parts"})
    assert f"x-amz-checksum-{algorithm.lower()}" not in headers(s3, scene.name, "copy")
    # botocore compares the content with a checksum that is not marked.
    copy = s3.get_object(Bucket=scene.name, Key="copy", ChecksumMode="ENABLED")
    assert copy["Body"].read() == b"hello"


def test_a_checksum_of_the_whole_object_goes_with_a_copy(s3: Any, scene: Scene) -> None:
    upload_in_one_part(s3, scene.name, "parts", "CRC32", "FULL_OBJECT")
    s3.copy_object(Bucket=scene.name, Key="copy", CopySource={"Bucket": scene.name, "Key": "parts"})
    for key in ("parts", "copy"):
        assert headers(s3, scene.name, key)["x-amz-checksum-crc32"] == "NhCmhg=="
