#!/usr/bin/env bash
# Writes the files of secrets that are not there yet, readable by their owner alone: `make deploy` calls it, for an
# overlay with a login as `generate.sh login`.
# The object store's keys are those of KFP's own store, read from the cluster; the database's password is drawn.
set -euo pipefail
cd "$(dirname "$0")"
umask 077

key() {
    kubectl get secret -n kubeflow mlpipeline-minio-artifact -o "jsonpath={.data.$1}" | base64 --decode
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

# Under its own name only when it is whole.
write() {
    cat > "$1.part"
    mv "$1.part" "$1"
    echo "wrote manifests/secrets/$1"
}

if [ ! -e object-store.env ]; then
    access_key=$(key accesskey)
    secret_key=$(key secretkey)
    write object-store.env <<END
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
AWS_ENDPOINT_URL_S3=http://seaweedfs.kubeflow:8333
AWS_REGION=us-east-1
END
fi

if [ ! -e mlflow.env ]; then
    password=$(random)
    write mlflow.env <<END
POSTGRES_USER=mlflow
POSTGRES_PASSWORD=$password
MLFLOW_BACKEND_STORE_URI=postgresql://mlflow:$password@ssm4rec-postgresql:5432/mlflow
END
fi

[ "${1:-}" = login ] || exit 0

if [ ! -e login/mlflow-login.env ]; then
    password=$(random)
    write login/mlflow-login.env <<END
MLFLOW_AUTH_ADMIN_USERNAME=ssm4rec
MLFLOW_AUTH_ADMIN_PASSWORD=$password
MLFLOW_FLASK_SERVER_SECRET_KEY=$(random)
END
fi

value() {
    sed -n "s/^$2=//p" "$1"
}

if [ ! -e login/credentials.env ]; then
    write login/credentials.env <<END
username=$(value login/mlflow-login.env MLFLOW_AUTH_ADMIN_USERNAME)
password=$(value login/mlflow-login.env MLFLOW_AUTH_ADMIN_PASSWORD)
END
fi

if [ ! -e login/basic_auth.ini ]; then
    # A percent sign begins a reference in this kind of file.
    address=$(value mlflow.env MLFLOW_BACKEND_STORE_URI | sed 's/%/%%/g')
    write login/basic_auth.ini <<END
[mlflow]
default_permission = READ
database_uri = $address
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
END
fi
