{{- /*
One setting as an argument. Numbers come as floats: whole ones are written whole, so that 16777216 is not 1.6777216e+07.
*/ -}}
{{- define "podicorn.scalar" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}
{{- printf "%.0f" . }}
{{- else }}
{{- toString . }}
{{- end }}
{{- end }}

{{- /* The server's arguments, as a list in YAML. */ -}}
{{- define "podicorn.args" -}}
{{- $settings := .Values.settings | default dict }}
{{- $flags := .Files.Get "files/settings.yaml" | fromYaml }}
{{- if and .Values.configFile (get $settings "config") }}
{{- fail "configFile and settings.config name two config files: set one of them" }}
{{- end }}
- --bind=0.0.0.0:{{ .Values.ports.http }}
- --admin-bind=[::]:{{ .Values.ports.admin }}
{{- if include "podicorn.adminTokenSecret" . }}
- --admin-token-file=/var/run/podicorn/admin/token
{{- end }}
{{- if .Values.configFile }}
- --config=/etc/podicorn/gunicorn.conf.py
{{- end }}
{{- range $name, $how := $flags }}
{{- $value := get $settings $name }}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
{{- if has $how.takes (list "true" "false") }}
{{- if eq (toString $value) $how.takes }}
- {{ $how.flag }}
{{- end }}
{{- else if eq $how.takes "values" }}
{{- range (kindIs "slice" $value | ternary $value (list $value)) }}
- {{ printf "%s=%s" $how.flag . | quote }}
{{- end }}
{{- else if kindIs "slice" $value }}
- {{ printf "%s=%s" $how.flag (join "," $value) | quote }}
{{- else }}
- {{ printf "%s=%s" $how.flag (include "podicorn.scalar" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraArgs }}
{{ toYaml . }}
{{- end }}
{{- with .Values.app }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- /* Where the app's environment comes from; also that of the migrations. */ -}}
{{- define "podicorn.envFrom" -}}
{{- with .Values.existingSecret }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- with .Values.extraEnvFrom }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* How long a pod has to end: the server's own time limit, which it keeps within. */ -}}
{{- define "podicorn.gracePeriod" -}}
{{- $settings := .Values.settings | default dict }}
{{- include "podicorn.scalar" (get $settings "graceful_timeout" | default 30 | ceil) }}
{{- end }}

{{- /* True where the number of pods is another's to set. */ -}}
{{- define "podicorn.autoscaled" -}}
{{- if or .Values.autoscaling.enabled .Values.externalAutoscaler }}true{{ end }}
{{- end }}
