#!/bin/sh
# Makes the outputs of other languages anew, where python3, php and node are installed.
set -eu
cd "$(dirname "$0")"
python3 generate.py >python.json
php generate.php >php.json
node generate.js >javascript.json
