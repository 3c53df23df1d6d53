"""Where alerts are told: webhooks, Slack's format, e-mail."""
