#!/bin/sh
# Creates the bucket `models` and the user of delivery, who has access to this bucket only.
set -eu
secret() { IFS= read -r value <"/run/secrets/$1" || [ -n "$value" ] && printf '%s' "$value"; }
MC_HOST_s3="http://$(secret s3_root_user):$(secret s3_root_password)@minio:9000"
export MC_HOST_s3
mc mb --ignore-existing s3/models
mc admin user add s3 "$(secret s3_user)" "$(secret s3_password)"
mc admin policy create s3 models /etc/marina/policy.json
# mc fails when the policy is attached already, which is fine here.
mc admin policy attach s3 models --user "$(secret s3_user)" || true
case "$(mc admin policy entities s3 --user "$(secret s3_user)")" in
    *models*) ;;
    *) echo "the user of the bucket has no policy" >&2; exit 1 ;;
esac
