from leakage.table.files import read_table
from leakage.table.population import population_of

__all__ = ["population_of", "read_table"]
