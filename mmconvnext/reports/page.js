// Sorts a table by the column whose head is clicked: numbers by data-value, names by their letters.
for (const head of document.querySelectorAll('th button')) {
  head.addEventListener('click', () => {
    const cell = head.parentElement, table = cell.closest('table'), body = table.tBodies[0];
    const rising = cell.getAttribute('aria-sort') !== 'ascending';
    for (const other of cell.parentElement.cells) other.removeAttribute('aria-sort');
    cell.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
    const key = row => row.cells[cell.cellIndex];
    const compare = (a, b) => 'value' in key(a).dataset
      ? key(a).dataset.value - key(b).dataset.value
      : key(a).textContent.localeCompare(key(b).textContent, undefined, { numeric: true });
    body.append(...[...body.rows].sort((a, b) => rising ? compare(a, b) : compare(b, a)));
  });
}
