#!/bin/sh
# Writes nginx.conf from its template, then runs the command. The run folder may be an empty tmpfs, so it is filled at
# each start. The access log becomes the output of the container.
set -eu
mkdir -p "$MARINA_FILES_RUN"
ln -sf /dev/stdout "$MARINA_FILES_RUN/access.log"
# envsubst gets the names; nginx's own variables stay.
# shellcheck disable=SC2016
envsubst '${MARINA_FILES_ADDRESS} ${MARINA_FILES_ROOT} ${MARINA_FILES_PAGE} ${MARINA_FILES_PUT} ${MARINA_FILES_RUN}' \
    <"$MARINA_FILES_TEMPLATE" >"$MARINA_FILES_RUN/nginx.conf"
exec "$@"
