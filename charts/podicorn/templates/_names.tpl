{{- define "podicorn.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "podicorn.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := include "podicorn.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A name of at most 63 characters that ends with a suffix. Call with (list . "suffix"). */ -}}
{{- define "podicorn.suffixed" -}}
{{- $suffix := printf "-%s" (index . 1) }}
{{- include "podicorn.fullname" (index . 0) | trunc (int (sub 63 (len $suffix))) | trimSuffix "-" }}{{ $suffix }}
{{- end }}

{{- define "podicorn.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "podicorn.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "podicorn.selectorLabels" -}}
app.kubernetes.io/name: {{ include "podicorn.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The image's tag as far as it fits a label. */ -}}
{{- define "podicorn.version" -}}
{{- include "podicorn.scalar" (.Values.image.tag | default .Chart.AppVersion) | trunc 63 | trimAll "-._" | quote }}
{{- end }}

{{- define "podicorn.labels" -}}
{{ include "podicorn.selectorLabels" . }}
app.kubernetes.io/version: {{ include "podicorn.version" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "podicorn.image" -}}
{{- $repository := required "image.repository is required: the image with Python, podicorn and the app" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (include "podicorn.scalar" (required "image.tag is required (or image.digest)" .Values.image.tag)) }}
{{- end }}
{{- end }}

{{- define "podicorn.adminTokenSecret" -}}
{{- if .Values.adminToken.existingSecret }}
{{- .Values.adminToken.existingSecret }}
{{- else if .Values.adminToken.create }}
{{- include "podicorn.suffixed" (list . "admin") }}
{{- end }}
{{- end }}
