{{- define "encore.name" -}}
{{- if not (or .Values.secret .Values.api.open (index .Values.settings "ENCORE_OIDC_ISSUER")) }}
{{- fail "secret: name a Secret of yours with ENCORE_API_KEYS (`encore key NAME` makes them), give an issuer of tokens (settings.ENCORE_OIDC_ISSUER), or set api.open behind a door of your own" }}
{{- end }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "encore.selector" -}}
app.kubernetes.io/name: encore
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "encore.labels" -}}
{{ include "encore.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* The settings that all parts have. */ -}}
{{- define "encore.settings" -}}
KAFKA_SERVERS: {{ .Values.kafka.servers | quote }}
KAFKA_TLS: {{ .Values.kafka.tls | quote }}
KAFKA_SASL_MECHANISM: {{ .Values.kafka.mechanism | quote }}
ENCORE_PARTITIONS: {{ .Values.kafka.partitions | quote }}
REDIS_HOST: {{ .Values.redis.host | quote }}
REDIS_PORT: {{ .Values.redis.port | quote }}
REDIS_TLS: {{ .Values.redis.tls | quote }}
REDIS_CLUSTER: {{ .Values.redis.cluster | quote }}
ENCORE_HOME: /data
{{- with .Values.storage }}
ENCORE_STORAGE: {{ . | quote }}
{{- end }}
{{- if .Values.project.configMap }}
ENCORE_PROJECT: /project
{{- end }}
ENCORE_BEAT: /tmp/beat
{{- if .Values.certificates.kafka }}
KAFKA_CA: /certificates/kafka-ca.crt
{{- end }}
{{- if .Values.certificates.redis }}
REDIS_CA: /certificates/redis-ca.crt
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* A pod of one part: .root, .part, .command, .resources; and .env, .port or .metrics, .probes where it has some. */ -}}
{{- define "encore.pod" -}}
metadata:
  labels:
    {{- include "encore.labels" . | nindent 4 }}
  annotations:
    checksum/settings: {{ include "encore.settings" .root | sha256sum }}
spec:
  automountServiceAccountToken: false
  {{- with .root.Values.serviceAccount }}
  serviceAccountName: {{ . | quote }}
  {{- end }}
  enableServiceLinks: false
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  terminationGracePeriodSeconds: 60
  {{- if .restart }}
  restartPolicy: {{ .restart }}
  {{- end }}
  containers:
    - name: {{ .part }}
      image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: {{ toJson .command }}
      envFrom:
        - configMapRef: {name: {{ .settings | default (include "encore.name" .root) }}}
        {{- with .root.Values.secret }}
        - secretRef: {name: {{ . | quote }}}
        {{- end }}
      env:
        - name: HOSTNAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        {{- range $name, $value := .env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- with .port }}
      ports:
        - {name: http, containerPort: {{ . }}}
      {{- end }}
      {{- with .metrics }}
      ports:
        - {name: metrics, containerPort: {{ . }}}
      {{- end }}
      {{- with .probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: home, mountPath: /data}
        - {name: scratch, mountPath: /tmp}
        {{- if .root.Values.project.configMap }}
        - {name: project, mountPath: /project, readOnly: true}
        {{- end }}
        {{- if .root.Values.certificates.secret }}
        - {name: certificates, mountPath: /certificates, readOnly: true}
        {{- end }}
  volumes:
    - name: home
      {{- if .root.Values.storage }}
      emptyDir: {sizeLimit: {{ .root.Values.home.size }}}
      {{- else }}
      persistentVolumeClaim:
        claimName: {{ .root.Values.home.existingClaim | default (include "encore.name" .root) }}
      {{- end }}
    - name: scratch
      emptyDir: {sizeLimit: 1Gi}
    {{- with .root.Values.project.configMap }}
    - name: project
      configMap: {name: {{ . | quote }}}
    {{- end }}
    {{- with .root.Values.certificates.secret }}
    - name: certificates
      secret: {secretName: {{ . | quote }}}
    {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /* Probes of a part that serves: .path is asked. A start may take minutes. */ -}}
{{- define "encore.httpProbes" -}}
startupProbe: {httpGet: {path: {{ .live }}, port: http, httpHeaders: [{name: Host, value: localhost}]}, periodSeconds: 3, failureThreshold: 100}
livenessProbe: {httpGet: {path: {{ .live }}, port: http, httpHeaders: [{name: Host, value: localhost}]}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
readinessProbe: {httpGet: {path: {{ .ready }}, port: http, httpHeaders: [{name: Host, value: localhost}]}, periodSeconds: 5, timeoutSeconds: 5}
{{- end }}

{{- /* Probes of a part that beats: its file is young. */ -}}
{{- define "encore.beatProbes" -}}
startupProbe: {exec: {command: [well, beat, "60"]}, periodSeconds: 5, failureThreshold: 60}
livenessProbe: {exec: {command: [well, beat, "120"]}, periodSeconds: 15, timeoutSeconds: 5, failureThreshold: 4}
{{- end }}
