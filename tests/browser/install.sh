#!/usr/bin/env bash
# Installs Chromium for the tests in a browser, unless there is one.
# As root on Debian or Ubuntu from the distribution, elsewhere the one that Playwright brings.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null
else
    "$(dirname "$0")/../../.venv/bin/playwright" install chromium
fi
