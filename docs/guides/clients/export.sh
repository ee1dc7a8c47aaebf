#!/usr/bin/env bash
# Exports an ACO's claims into a folder: curl, sed, awk and gzip.
#
#   CLIENT_ID=… CLIENT_SECRET_FILE=secret ./export.sh https://host FOLDER [ENDPOINT [TYPES [SINCE]]]
#
# ENDPOINT is Patient (the default) or Group/all; TYPES are joined by commas; SINCE is the transactionTime of the export
# before. The secret may also stand in CLIENT_SECRET. CACERT names a certificate to trust. A download that breaks goes on
# where it stopped; so does a second call with RESUME_JOB=<URL of the job>, for the files that are not there yet.
set -euo pipefail

TRIES_MAX=20          # of one request, or one file
WAIT_SECONDS_MAX=120  # between two of them

die() {
    echo "export.sh: $*" >&2
    exit 1
}

[ $# -ge 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
host=${1%/} folder=$2 endpoint=${3:-Patient} types=${4-} since=${5-}
id=${CLIENT_ID:?is not set}
secret=${CLIENT_SECRET-}
[ -n "$secret" ] || secret=$(head -n 1 "${CLIENT_SECRET_FILE:?is not set, nor is CLIENT_SECRET}")
unset CLIENT_SECRET
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ask ARGUMENT...: one request; sets `status`, leaves head and body in $work. Secrets go in by standard input, where no
# list of processes shows them. 000 means that no whole answer came.
ask() {
    : >"$work/body" >"$work/head"
    status=$(curl -sS ${CACERT:+--cacert "$CACERT"} --connect-timeout 30 --speed-limit 1 --speed-time 60 \
        -D "$work/head" -o "$work/body" -w '%{http_code}' --config - "$@" 2>"$work/message") || status=000
}

header() {
    sed -n "s/^$1: *\(.*\)\r\$/\1/Ip" "$work/head" 2>/dev/null | tail -n 1
}

pause() {
    local seconds
    seconds=$(header Retry-After)
    [[ $seconds =~ ^[0-9]{1,6}$ ]] || seconds=1
    sleep "$((seconds < WAIT_SECONDS_MAX ? seconds : WAIT_SECONDS_MAX))"
}

renew() {
    local try
    for ((try = 1; try <= TRIES_MAX; try++)); do
        ask -X POST -d '' "$host/auth/token" <<<"user = \"$id:$secret\""
        case $status in
        200)
            token=$(sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p' "$work/body")
            [ -n "$token" ] || die "the answer has no token"
            return
            ;;
        000 | 429 | 502 | 503) pause ;;
        *) die "no token: status $status" ;;
        esac
    done
    die "no token after $TRIES_MAX tries: status $status $(head -c 300 "$work/message")"
}

# with_token ARGUMENT...: as ask, with a token that is renewed when it is refused; waits when it is told to.
with_token() {
    local try
    for ((try = 1; try <= TRIES_MAX; try++)); do
        ask "$@" <<<"header = \"Authorization: Bearer $token\""
        case $status in
        401) renew ;;
        000 | 429 | 502 | 503) pause ;;
        *) return 0 ;;
        esac
    done
    die "no answer after $TRIES_MAX tries: status $status $(head -c 300 "$work/message")"
}

refused() {
    die "$1: status $status $(sed -n 's/.*"diagnostics" *: *"\([^"]*\)".*/\1/p' "$work/body" | head -c 300)"
}

# entries LIST: type, url, count and fileSize (- for none) of the manifest's output, deleted or error.
entries() {
    tr -d '\n' <"$folder/manifest.json" | sed -n "s/.*\"$1\" *: *\[\([^]]*\)\].*/\1/p" | awk -v RS='}' '
        function value(name) {
            if (!match($0, "\"" name "\" *: *(\"[^\"]*\"|[0-9]+)")) return "-"
            found = substr($0, RSTART, RLENGTH); sub(/^"[^"]*" *: */, "", found); gsub(/"/, "", found)
            return found
        }
        /"url"/ { print value("type"), value("url"), value("count"), value("fileSize") }'
}

# download TYPE URL COUNT SIZE: asks for gzip, goes on after a break, and checks what arrived.
download() {
    local file="$folder/$1-${2##*/}" try
    [ ! -e "$file" ] || return 0
    for ((try = 1; try <= TRIES_MAX; try++)); do
        : >"$work/head"
        # --fail keeps the body of an error out of the file; -C - asks for the bytes that are still missing.
        status=$(curl -sS --fail ${CACERT:+--cacert "$CACERT"} --connect-timeout 30 --speed-limit 1 --speed-time 60 \
            -C - -H 'Accept-Encoding: gzip' -D "$work/head" -o "$file.gz" -w '%{http_code}' --config - "$2" \
            2>"$work/message" <<<"header = \"Authorization: Bearer $token\"") && break
        case $status in
        401) renew ;;
        416) break ;; # all of it is there already
        404 | 410) die "$2: status $status" ;;
        *) pause ;;
        esac
    done
    [ -s "$file.gz" ] && gzip -dc "$file.gz" >"$file.part" || die "$2: not whole after $TRIES_MAX tries"
    [ "$3" = - ] || [ "$(wc -l <"$file.part")" = "$3" ] || die "$file.part has not the $3 resources of the manifest"
    [ "$4" = - ] || [ "$(wc -c <"$file.part")" = "$4" ] || die "$file.part has not the $4 bytes of the manifest"
    mv "$file.part" "$file"
    rm "$file.gz"
    echo "$file"
}

renew
job=${RESUME_JOB-}
if [ -z "$job" ]; then
    query=()
    [ -z "$types" ] || query+=(--data-urlencode "_type=$types")
    [ -z "$since" ] || query+=(--data-urlencode "_since=$since")
    with_token --get "${query[@]}" -H 'Accept: application/fhir+json' -H 'Prefer: respond-async' \
        "$host/api/v1/$endpoint/\$export"
    [ "$status" = 202 ] || refused "the export was refused"
    job=$(header Content-Location)
fi
echo "job $job"
while with_token "$job" && [ "$status" = 202 ]; do
    echo "$(header X-Progress)"
    pause
done
[ "$status" = 200 ] || refused "the job ended otherwise"
cp "$work/body" "$folder/manifest.json"

while read -r type url count size; do
    download "$type" "$url" "$count" "$size"
done < <(entries output; entries deleted) # what is gone since SINCE: Bundles of DELETE requests
problems=0
while read -r type url count size; do
    download "errors-$type" "$url" "$count" "$size"
    problems=$((problems + 1))
done < <(entries error)
[ "$problems" = 0 ] || echo "export.sh: some of it could not be exported: see $folder/errors-*" >&2
