#!/bin/bash
# Runs the command, nginx with front.conf, and notes each second which gateway hangs while the other one answers. nginx
# itself turns from a gateway that is not there; one that hangs takes requests, and nginx cannot tell it from a slow one.
run=/run/marina

# Prints the status of a look at a gateway.
look() {
    { exec 3<>/dev/tcp/127.0.0.1/5000 && printf 'GET /%s HTTP/1.0\r\n\r\n' "$1" >&3 && read -r -t 10 _ status _ <&3; } 2>/dev/null
    printf '%s' "$status"
}

watch() {
    while sleep 1; do
        case "$(look gateway) $(look spare)" in
            "504 200") found=only_spare ;;
            "200 504") found=only_gateway ;;
            *) found=both ;;
        esac
        [[ $found == "$noted" ]] && continue
        rm -f "$run/only_gateway" "$run/only_spare"
        [[ $found == both ]] || : >"$run/$found"
        printf '{"level": "warning", "event": "gateways_in_use", "gateways": "%s"}\n' "$found" >&2
        noted=$found
    done
}

noted=both
watch &
exec "$@"
