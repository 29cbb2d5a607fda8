#!/bin/bash
# Sources the app's .profile.d/*.sh in their order, and .profile, and tells the launcher in TOML what they change.
declare -A __slipway_old
while IFS= read -r -d '' __slipway_kv; do __slipway_old["${__slipway_kv%%=*}"]=${__slipway_kv#*=}; done < <(env -0)
cd "$HOME" || exit 1
for __slipway_file in .profile.d/*.sh .profile; do
	if [[ -r $__slipway_file ]]; then . "./$__slipway_file"; fi
done >&2
while IFS= read -r -d '' __slipway_kv; do
	__slipway_name=${__slipway_kv%%=*} __slipway_value=${__slipway_kv#*=}
	[[ $__slipway_name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
	case $__slipway_name in _ | SHLVL | PWD | OLDPWD) continue ;; esac
	[[ -n ${__slipway_old[$__slipway_name]+there} && ${__slipway_old[$__slipway_name]} == "$__slipway_value" ]] && continue
	__slipway_value=${__slipway_value//\\/\\\\} __slipway_value=${__slipway_value//\"/\\\"}
	__slipway_value=${__slipway_value//$'\n'/\\n} __slipway_value=${__slipway_value//$'\r'/\\r} __slipway_value=${__slipway_value//$'\t'/\\t}
	__slipway_value=${__slipway_value//[$'\x01'-$'\x1f'$'\x7f']/}
	printf '%s = "%s"\n' "$__slipway_name" "$__slipway_value" >&3
done < <(env -0)
