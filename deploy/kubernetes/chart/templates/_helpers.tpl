{{- define "landscape-router.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* NetworkPolicies of landscapes let pods of this name in: it is the same in every release. */}}
{{- define "landscape-router.selector" -}}
app.kubernetes.io/name: landscape-router
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: router
{{- end -}}

{{- define "landscape-router.labels" -}}
app.kubernetes.io/name: landscape-router
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: landscape-router
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "landscape-router.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "landscape-router.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "landscape-router.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Where workloads are. */}}
{{- define "landscape-router.workloads" -}}
{{- $kubernetes := default (dict) .Values.router.kubernetes -}}
{{- default .Release.Namespace $kubernetes.namespace -}}
{{- end -}}

{{/* Where the names of services are. */}}
{{- define "landscape-router.names" -}}
{{- $kubernetes := default (dict) .Values.router.kubernetes -}}
{{- $names := ternary $kubernetes.names (dict) (kindIs "map" $kubernetes.names) -}}
{{- default "workspaces" $names.namespace -}}
{{- end -}}

{{- define "landscape-router.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}
