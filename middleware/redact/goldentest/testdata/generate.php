<?php
// Prints what PHP makes of each value of values.json, as JSON: {writer: [text]}, and the values as {"": [value]}.
const BEFORE = 'before.', AFTER = '.after';

$texts = [
    'json_encode' => fn($s) => json_encode(['v' => $s]),
    'json_encode JSON_HEX_*' => fn($s) => json_encode(['v' => $s], JSON_HEX_TAG | JSON_HEX_AMP | JSON_HEX_APOS | JSON_HEX_QUOT),
    'json_encode unescaped' => fn($s) => json_encode(['v' => $s], JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE),
    'json_encode in json_encode' => fn($s) => json_encode(['v' => json_encode(['v' => $s])]),
    'var_export' => fn($s) => var_export(['v' => $s], true),
    'print_r' => fn($s) => print_r(['v' => $s], true),
    'serialize' => fn($s) => serialize(['v' => $s]),
    'htmlspecialchars' => fn($s) => htmlspecialchars($s),
    'htmlspecialchars of htmlspecialchars' => fn($s) => htmlspecialchars(htmlspecialchars($s)),
    'htmlentities' => fn($s) => htmlentities($s),
    'htmlentities ENT_HTML5' => fn($s) => htmlentities($s, ENT_QUOTES | ENT_HTML5),
    'urlencode' => fn($s) => urlencode($s),
    'rawurlencode' => fn($s) => rawurlencode($s),
    'http_build_query' => fn($s) => http_build_query(['a' => 1, 'v' => $s]),
    'addslashes' => fn($s) => addslashes($s),
    'escapeshellarg' => fn($s) => escapeshellarg($s),
];
$bytes = [
    'base64_encode' => fn($s) => base64_encode($s),
    'chunk_split' => fn($s) => chunk_split(base64_encode($s)),
    'bin2hex' => fn($s) => bin2hex($s),
];

setlocale(LC_CTYPE, 'C.UTF-8'); // escapeshellarg drops what is no character of the locale
$values = json_decode(file_get_contents(__DIR__ . '/values.json'), true, flags: JSON_THROW_ON_ERROR);
$out = [];
foreach ($values as $v) {
    foreach (array_intersect_key($v, array_flip(['value', 'also', 'open'])) as $s) {
        $out[''][] = $s;
        foreach ($texts as $writer => $f) {
            $out[$writer][] = $f(BEFORE . $s . AFTER);
        }
        foreach ($bytes as $writer => $f) {
            $out[$writer][] = BEFORE . $f($s) . AFTER;
        }
    }
}
echo json_encode($out, JSON_PRETTY_PRINT | JSON_THROW_ON_ERROR), "\n";
