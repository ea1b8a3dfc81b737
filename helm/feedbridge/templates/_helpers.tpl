{{- define "feedbridge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters leave room for what Kubernetes and this chart append: ordinals, hashes, "-headless". */}}
{{- define "feedbridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "feedbridge.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes: a StatefulSet's selector can't. */}}
{{- define "feedbridge.selectorLabels" -}}
app.kubernetes.io/name: {{ include "feedbridge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "feedbridge.labels" -}}
{{ include "feedbridge.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels, and the annotations that all objects have. Call with (list . "suffix of the name"). */}}
{{- define "feedbridge.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "feedbridge.fullname" $root }}{{ index . 1 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "feedbridge.labels" $root | nindent 2 }}
{{- with $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "feedbridge.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "feedbridge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "feedbridge.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* The configuration file: what the values say, over what the chart knows better than a default does. */}}
{{- define "feedbridge.config" -}}
{{- $ours := dict
  "name" (regexReplaceAll "^[^a-z]+" (printf "%s-%s" .Release.Namespace .Release.Name | lower | replace "." "-") "")
  "journal" (dict "path" "/var/lib/feedbridge")
  "http" (dict "listen" (printf ":%d" (int .Values.service.port)))
  "log" (dict "format" "json")
  "lanes" (dict "own" "ordinal")
-}}
{{- toYaml (mergeOverwrite $ours (deepCopy .Values.config)) -}}
{{- end -}}

{{/* A duration of the configuration (15, 15s, 500ms, 2m, 1h) in whole seconds, rounded up. */}}
{{- define "feedbridge.seconds" -}}
{{- $text := toString . -}}
{{- if not (regexMatch "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)?$" $text) -}}
{{- fail (printf "config.shutdown.timeout: %q is no duration the chart can check; write it as 15s" $text) -}}
{{- end -}}
{{- $number := float64 (regexFind "^[0-9.]+" $text) -}}
{{- $factor := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0 "" 1.0) (regexFind "[a-z]+$" $text) -}}
{{- ceil (mulf $number $factor) | int -}}
{{- end -}}

{{/* A size (2GiB, 500MB, 4Gi, 1048576) in MiB, rounded up; empty where it is written otherwise. */}}
{{- define "feedbridge.mebibytes" -}}
{{- $text := toString . | replace " " "" -}}
{{- if regexMatch "^[0-9.]+([KMGT]i?B?|B)?$" $text -}}
{{- $unit := regexFind "[KMGTB].*$" $text | trimSuffix "B" -}}
{{- $bytes := get (dict "" 1.0 "K" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0) $unit -}}
{{- ceil (divf (mulf (float64 (regexFind "^[0-9.]+" $text)) $bytes) 1048576.0) | int -}}
{{- end -}}
{{- end -}}

{{/* The environment and the files that the process sees, for the StatefulSet, the hooks and the test alike. */}}
{{- define "feedbridge.env" -}}
- name: FEEDBRIDGE_CONFIG
  value: /etc/feedbridge/config/feedbridge.yaml
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "feedbridge.envFrom" -}}
{{- range .Values.existingSecrets }}
- secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "feedbridge.mounts" -}}
- {name: config, mountPath: /etc/feedbridge/config, readOnly: true}
- {name: journal, mountPath: /var/lib/feedbridge}
- {name: tmp, mountPath: /tmp}
{{- range .Values.secretFiles }}
- {name: {{ printf "secret-%s" .mount }}, mountPath: {{ printf "/etc/feedbridge/secrets/%s" .mount }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Call with (list . "name of the ConfigMap"). */}}
{{- define "feedbridge.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap: {name: {{ index . 1 }}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- range $root.Values.secretFiles }}
- name: secret-{{ .mount }}
  secret: {secretName: {{ .name | quote }}, defaultMode: 0440}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* A pod that runs one command and ends. Call with (list . "name of the ConfigMap" command). */}}
{{- define "feedbridge.once" -}}
{{- $root := index . 0 -}}
restartPolicy: Never
serviceAccountName: {{ ternary "default" (include "feedbridge.serviceAccountName" $root) $root.Values.serviceAccount.create }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
containers:
  - name: feedbridge
    image: {{ include "feedbridge.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: {{ index . 2 | toJson }}
    env:
      {{- include "feedbridge.env" $root | nindent 6 }}
    {{- with include "feedbridge.envFrom" $root }}
    envFrom:
      {{- . | nindent 6 }}
    {{- end }}
    resources:
      {{- toYaml $root.Values.resources | nindent 6 }}
    securityContext:
      {{- toYaml $root.Values.securityContext | nindent 6 }}
    volumeMounts:
      {{- include "feedbridge.mounts" $root | nindent 6 }}
volumes:
  {{- include "feedbridge.volumes" (list $root (index . 1)) | nindent 2 }}
  - name: journal
    emptyDir: {sizeLimit: 64Mi}
{{- end -}}
