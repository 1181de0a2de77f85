#!/usr/bin/env bash
# Writes what is in images, for people who ask whether they are affected by something: `images/sbom.sh FOLDER IMAGE...`.
# Per image: NAME.cdx.json, its Python packages as CycloneDX, and NAME.debian.txt, its Debian packages with versions.
# Needs docker and cyclonedx-py (`pip install cyclonedx-bom`; not in tools.txt, since checkov wants an older library of it).
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"
for image in "$@"; do
    name=${image##*/}
    name=$folder/${name%%:*}
    docker run --rm --network none "$image" python -m pip list --format=freeze > "$name.packages.txt"
    docker run --rm --network none "$image" dpkg-query --show > "$name.debian.txt"
    cyclonedx-py requirements "$name.packages.txt" --output-reproducible --output-format JSON --output-file "$name.cdx.json"
    rm "$name.packages.txt"
done
