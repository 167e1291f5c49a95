// For those who deploy with jsonnet: a mixin with the rendered files.
{
  grafanaDashboards+:: { 'exspan.json': import 'exspan-dashboard.json' },
  prometheusRules+:: std.parseYaml(importstr 'exspan-rules.yaml'),
  prometheusAlerts+:: std.parseYaml(importstr 'exspan-alerts.yaml'),
}
