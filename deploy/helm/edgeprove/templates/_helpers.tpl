{{- define "edgeprove.fullname" -}}
{{- if contains "edgeprove" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-edgeprove" (.Release.Name | trunc 30 | trimSuffix "-") }}{{ end }}
{{- end }}

{{/* Labels that select pods: a list of the top context and the name of the part. They never change. */}}
{{- define "edgeprove.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: edgeprove
app.kubernetes.io/instance: {{ $top.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "edgeprove.labels" -}}
{{- $top := index . 0 -}}
{{ include "edgeprove.selector" . }}
app.kubernetes.io/version: {{ $top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $top.Chart.Name $top.Chart.Version }}
{{- end }}

{{- define "edgeprove.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The security settings of the profile `restricted`. User and group are those of the image. */}}
{{- define "edgeprove.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "edgeprove.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Variables of a container: a list of the map of the user, and the map of the chart, which the user's overrides. */}}
{{- define "edgeprove.env" -}}
{{- range $name, $value := merge (deepCopy (index . 0)) (index . 1) }}
- { name: {{ $name }}, value: {{ $value | toString | quote }} }
{{- end }}
{{- end }}

{{/* The probes of a port. A server loads its circuits before it is ready, which can take minutes with large ones. */}}
{{- define "edgeprove.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: {{ . }} }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: {{ . }} }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: {{ . }} }
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "edgeprove.mounts" -}}
{{- if or .Values.circuits.configMap .Values.circuits.existingClaim }}
- { name: circuits, mountPath: /app/circuits, readOnly: true }
{{- end }}
{{- if .Values.crs.existingClaim }}
- { name: crs, mountPath: /opt/crs }
{{- end }}
{{- end }}

{{- define "edgeprove.volumes" -}}
{{- if and .Values.circuits.configMap .Values.circuits.existingClaim }}
{{- fail "circuits.configMap and circuits.existingClaim exclude each other: set one of them" }}
{{- end }}
{{- if .Values.circuits.configMap }}
- { name: circuits, configMap: { name: {{ .Values.circuits.configMap }} } }
{{- end }}
{{- with .Values.circuits.existingClaim }}
- { name: circuits, persistentVolumeClaim: { claimName: {{ . }} } }
{{- end }}
{{- with .Values.crs.existingClaim }}
- { name: crs, persistentVolumeClaim: { claimName: {{ . }} } }
{{- end }}
{{- end }}

{{/* Where a pod may run: a list of the top context, the values of the part and the name of the part. */}}
{{- define "edgeprove.placement" -}}
{{- $top := index . 0 -}}
{{- $part := index . 1 -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "edgeprove.selector" (list $top (index . 2)) | nindent 8 }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - { name: {{ . }} }
  {{- end }}
{{- end }}
{{- end }}

{{/* The variables that servers and builders share, as JSON: the place of the artifacts. */}}
{{- define "edgeprove.storage" -}}
{{- $url := required "artifacts.url must name the bucket, such as s3://BUCKET/PREFIX" .Values.artifacts.url -}}
{{- $env := dict "EDGEPROVE_ARTIFACTS" $url "EDGEPROVE_LISTEN" "0.0.0.0:8080" -}}
{{- with .Values.artifacts.region }}{{ $_ := set $env "AWS_REGION" . }}{{ end -}}
{{- with .Values.artifacts.endpoint }}{{ $_ := set $env "AWS_ENDPOINT_URL" . }}{{ end -}}
{{ toJson $env }}
{{- end }}

{{/* Rules of a NetworkPolicy: name service, and a port of somewhere else. */}}
{{- define "edgeprove.dns" -}}
- ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
{{- end }}
{{- define "edgeprove.outside" -}}
- ports: [{ port: {{ .port }}, protocol: TCP }]
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
