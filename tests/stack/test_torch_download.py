"""What a build for CPUs says of torch's CUDA packages."""

from pathlib import Path

from stack.torch_download import cuda_bytes


def test_size_is_that_of_the_cuda_packages_in_pips_records(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, record in {"nvidia-cublas": "a,h,100\nb,h,20\nRECORD,,\n", "numpy": "c,h,7\n"}.items():
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "RECORD").write_text(record)
    assert cuda_bytes(tmp_path) == 120
    assert cuda_bytes(tmp_path / "none") == 0
