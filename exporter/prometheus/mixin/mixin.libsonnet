// For those who deploy with jsonnet: a mixin with the rendered files. _config changes what
// differs between sites:
//
//   (import 'mixin.libsonnet') { _config+:: { exspanSelector: 'job="sensors"' } }
{
  _config:: {
    // What selects the series up of the monitors. Their other series need no selector.
    exspanSelector: 'job="exspan"',
    // How many packets an interface may lose in five minutes.
    captureDrops: 100,
    // The page that alerts link to; %s is the anchor.
    runbookURL: 'https://github.com/exspan/exspan/blob/main/exporter/prometheus/mixin/runbook.md#%s',
    grafanaDashboardTags: ['exspan', 'exchange'],
    grafanaDashboardRefresh: '1m',
  },

  local replaced(text) = std.strReplace(std.strReplace(text,
                                                       'job="exspan"', $._config.exspanSelector),
                                        '[5m])) > 100', '[5m])) > %d' % $._config.captureDrops),
  local linked(rule) = if 'alert' in rule then rule {
    annotations+: { runbook_url: $._config.runbookURL % std.asciiLower(rule.alert) },
  } else rule,

  grafanaDashboards+:: {
    'exspan.json': (import 'exspan-dashboard.json') + {
      tags: $._config.grafanaDashboardTags,
      refresh: $._config.grafanaDashboardRefresh,
    },
  },
  prometheusRules+:: std.parseYaml(importstr 'exspan-rules.yaml'),
  prometheusAlerts+:: {
    groups: [
      group { rules: [linked(rule) for rule in group.rules] }
      for group in std.parseYaml(replaced(importstr 'exspan-alerts.yaml')).groups
    ],
  },
}
